"""Starts the server: settings -> application -> WSGI server. `python app.py --help` lists all."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
from typing import Any

# Before NumPy is imported: its matrix products here are too small for a second thread, which
# OpenBLAS keeps spinning (8 clients on two cores: 18 requests a second with it, 130 without).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from flask import Flask

from utils.errors import NotReady
from web.application import check, create_app
from web.settings import Settings, read_settings


def main() -> None:
    settings = read_settings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        check(settings)  # what is wrong is told once here, not by every process that is forked
        if settings.development:
            create_app(settings).run(settings.host, settings.port, debug=True)
        elif sys.platform == "win32":
            serve_with_waitress(settings)
        else:
            serve_with_gunicorn(settings)
    except NotReady as error:
        sys.exit(f"app.py: {error}")


def serve_with_gunicorn(settings: Settings) -> None:
    """Serves in threads of one or more processes; each makes its own application after the fork."""
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):  # type: ignore[misc] # gunicorn has no types
        def load_config(self) -> None:
            chosen: dict[str, Any] = {
                "bind": f"{settings.host}:{settings.port}",
                "worker_class": "gthread",
                "workers": settings.processes,
                "threads": settings.threads,
                "graceful_timeout": math.ceil(settings.stop_s),
                # a worker that makes no sign for so long is replaced; decoding is bounded below it
                "timeout": math.ceil(settings.max_decode_s + settings.stop_s),
                "proc_name": "speaker-identification",
                "control_socket_disable": True,  # would lie outside this folder, one for a user
            }
            for name, value in chosen.items():
                self.cfg.set(name, value)

        def load(self) -> Flask:
            return create_app(settings)

    Server().run()


def serve_with_waitress(settings: Settings) -> None:
    """Serves in threads of this one process, where gunicorn does not run."""
    from waitress.server import create_server

    server = create_server(
        create_app(settings), host=settings.host, port=settings.port, threads=settings.threads
    )
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: server.close())
    server.run()


if __name__ == "__main__":
    main()
