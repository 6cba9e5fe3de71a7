"""Connections to the database, one pool a process, and its errors in words."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from utils.errors import NotReady
from utils.postgres.schema import is_there, migrate

CONNECT_S = 5
WAIT_S = 3.0  # for one of the connections
MOST_CONNECTIONS = 8

log = logging.getLogger(__name__)
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # its warnings name the host every second


class Database:
    """One PostgreSQL database; connects when it is first asked, after the fork."""

    def __init__(self, address: str) -> None:
        """Reads an address: postgresql://user@host/name, or all that libpq takes.

        Raises:
            NotReady: it cannot be read.
        """
        try:
            parts = conninfo_to_dict(address)
        except psycopg.Error as error:
            raise NotReady(
                "The gallery's address cannot be read; write it as "
                "postgresql://user@host:5432/database."
            ) from error
        self.shown = "postgresql://" + "".join(
            [
                f"{parts['user']}@" if parts.get("user") else "",
                str(parts.get("host") or ""),
                f":{parts['port']}" if parts.get("port") else "",
                f"/{parts.get('dbname', '')}",
            ]
        )
        self._conninfo = make_conninfo(
            address, connect_timeout=CONNECT_S, application_name="speaker-identification"
        )
        self._lock = threading.Lock()
        self._pool: ConnectionPool | None = None

    def is_prepared(self) -> bool:
        """Whether there are galleries in it.

        Raises:
            NotReady: it does not answer.
        """
        with errors_translated(), self.connect() as connection:
            return is_there(connection)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A connection of the pool, in autocommit, with the tables of today.

        Raises:
            NotReady: none is to be had, or what was asked failed.
        """
        with errors_translated(), self._opened().connection(timeout=WAIT_S) as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """A connection whose work is committed at the end, durably, or not at all."""
        with self.connection() as connection, connection.transaction():
            yield connection

    def connect(self) -> psycopg.Connection:
        """A connection of one's own, to be closed; errors are psycopg's."""
        return psycopg.connect(self._conninfo, autocommit=True)

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    def _opened(self) -> ConnectionPool:
        with self._lock:
            if self._pool is None:
                with self.connect() as connection:  # says why, where a pool only waits
                    migrate(connection)
                    _warn(connection)
                self._pool = ConnectionPool(
                    self._conninfo,
                    kwargs={"autocommit": True},
                    min_size=1,
                    max_size=MOST_CONNECTIONS,
                    configure=_configure,
                    check=ConnectionPool.check_connection,  # after a restart all are broken
                    open=True,
                )
            return self._pool


@contextmanager
def errors_translated() -> Iterator[None]:
    """Says in one sentence what the database did, without what it quotes, which may be an ID."""
    try:
        yield
    except PoolTimeout as error:
        raise NotReady(
            f"The gallery's database did not answer for {WAIT_S:.0f} s; try again."
        ) from error
    except psycopg.OperationalError as error:
        said = error.diag.message_primary or type(error).__name__
        log.warning("the database does not answer: %s", said)
        raise NotReady("The gallery's database does not answer; check that it runs.") from error
    except psycopg.Error as error:
        said = error.diag.message_primary or type(error).__name__
        raise NotReady(f"The gallery's database refused: {said}.") from error


def _configure(connection: psycopg.Connection) -> None:
    register_vector(connection)
    # "off" would answer before a registration is on the disk
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )


def _warn(connection: psycopg.Connection) -> None:
    [fsync] = connection.execute("SHOW fsync").fetchone() or ("on",)
    if fsync != "on":
        log.warning("the database runs with fsync off: a power cut may take enrolments with it")
