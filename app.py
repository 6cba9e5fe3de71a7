"""Starts the server: settings -> application -> WSGI server. `python app.py --help` lists all."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Before NumPy is imported: its matrix products here are too small for a second thread, which
# OpenBLAS keeps spinning (8 clients on two cores: 18 requests a second with it, 130 without).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from flask import Flask

from utils.errors import NotReady
from web import logs
from web.settings import Settings, read_settings

CONNECTIONS_PER_THREAD = 4
BACKLOG = 256  # connections that the system holds before a process takes them


def main() -> None:
    settings = read_settings()
    logs.set_up(settings.log_format)
    try:
        with counts_added_up(settings.processes):
            serve(settings)
    except NotReady as error:
        sys.exit(f"app.py: {error}")


def serve(settings: Settings) -> None:
    from web.application import check, create_app

    check(settings)  # what is wrong is told once here, not by every process that is forked
    if settings.development:
        create_app(settings).run(settings.host, settings.port, debug=True)
    elif sys.platform == "win32":
        serve_with_waitress(settings)
    else:
        serve_with_gunicorn(settings)


@contextmanager
def counts_added_up(processes: int) -> Iterator[None]:
    """Has several processes count into files of one folder, of which /metrics makes sums.

    Before `web.application` is imported: the metrics' library looks for the folder just once.
    """
    if processes == 1:
        yield
        return
    folder = tempfile.mkdtemp(prefix="speaker-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serve_with_gunicorn(settings: Settings) -> None:
    """Serves in threads of one or more processes; each makes its own application after the fork."""
    from gunicorn.app.base import BaseApplication
    from gunicorn.glogging import Logger

    from web.application import create_app
    from web.patience import impatient_worker

    class OneLog(Logger):  # type: ignore[misc]
        """Gunicorn's own lines go where all others go."""

        def setup(self, cfg: Any) -> None:
            super().setup(cfg)
            self.error_log.handlers.clear()
            self.error_log.propagate = True

    def tell_of_stop(worker: Any) -> None:
        """Whoever is listened to live is told when this process is to end."""
        worker.wsgi.extensions["is_stopping"] = lambda: not worker.alive

    class Server(BaseApplication):  # type: ignore[misc] # gunicorn has no types
        def load_config(self) -> None:
            chosen: dict[str, Any] = {
                "bind": f"{settings.host}:{settings.port}",
                "worker_class": impatient_worker(settings.max_upload_s),
                "workers": settings.processes,
                "threads": settings.request_threads,
                # whoever comes beyond these tries again: a flood is soon over for all others
                "worker_connections": CONNECTIONS_PER_THREAD * settings.request_threads,
                "backlog": BACKLOG,
                "graceful_timeout": math.ceil(settings.stop_s),
                # a worker that makes no sign for so long is replaced; decoding is bounded below it
                "timeout": math.ceil(settings.max_decode_s + settings.stop_s),
                "proc_name": "speaker-identification",
                "control_socket_disable": True,  # would lie outside this folder, one for a user
                "logger_class": OneLog,
                "post_worker_init": tell_of_stop,
            }
            for name, value in chosen.items():
                self.cfg.set(name, value)

        def load(self) -> Flask:
            return create_app(settings)

    Server().run()


def serve_with_waitress(settings: Settings) -> None:
    """Serves in threads of this one process, where gunicorn does not run."""
    from waitress.server import create_server

    from web.application import create_app

    server = create_server(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        threads=settings.request_threads,
        channel_timeout=math.ceil(settings.max_upload_s),
    )
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: server.close())
    server.run()


if __name__ == "__main__":
    main()
