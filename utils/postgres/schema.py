"""The tables, and how those of an older version become today's."""

from __future__ import annotations

import psycopg
from psycopg import errors

from utils.errors import NotReady

_LOCK = 0x53504B31  # an advisory lock: of servers that start together, one makes the tables

# A speaker that leaves keeps its row, without ID and centroid, so that other servers can drop it by
# its slot: nothing of a deleted person is left. `forgotten` is the last change whose emptied rows
# are gone: who has not seen it reads everything anew.
_FIRST = """
CREATE TABLE speaker_gallery.collection (
    collection_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    is_listed boolean NOT NULL DEFAULT true,
    change bigint NOT NULL DEFAULT 0,
    forgotten bigint NOT NULL DEFAULT 0
);
INSERT INTO speaker_gallery.collection (name) VALUES ('default');
CREATE TABLE speaker_gallery.recording (
    collection_id bigint NOT NULL REFERENCES speaker_gallery.collection ON DELETE CASCADE,
    speaker_id text COLLATE "C" NOT NULL,
    number text COLLATE "C" NOT NULL,
    folded text NOT NULL, -- the ID in lower case as Unicode has it, to be searched
    enrolled_at text NOT NULL,
    speech_s double precision,
    sha256 text NOT NULL,
    model_id text NOT NULL,
    calibration_id text,
    file bytea NOT NULL,
    media bytea,
    PRIMARY KEY (collection_id, speaker_id, number)
);
ALTER TABLE speaker_gallery.recording ALTER COLUMN media SET STORAGE EXTERNAL;
CREATE TABLE speaker_gallery.speaker (
    slot bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id bigint NOT NULL REFERENCES speaker_gallery.collection ON DELETE CASCADE,
    speaker_id text COLLATE "C",
    model_id text NOT NULL,
    centroid vector(64),
    speech_s double precision,
    consent_until timestamptz,
    changed bigint NOT NULL,
    UNIQUE (collection_id, speaker_id, model_id),
    CHECK ((speaker_id IS NULL) = (centroid IS NULL))
);
CREATE INDEX speaker_changed ON speaker_gallery.speaker (collection_id, changed);
CREATE TABLE speaker_gallery.profile (
    collection_id bigint NOT NULL REFERENCES speaker_gallery.collection ON DELETE CASCADE,
    speaker_id text COLLATE "C" NOT NULL,
    document text NOT NULL,
    consent_until timestamptz,
    PRIMARY KEY (collection_id, speaker_id)
);
CREATE TABLE speaker_gallery.key (
    key_id text PRIMARY KEY,
    ordinal bigint GENERATED ALWAYS AS IDENTITY,
    sha256 text NOT NULL,
    role text NOT NULL,
    collection text NOT NULL,
    note text NOT NULL,
    created_at text NOT NULL,
    revoked_at text
);
"""
# Voices may be sealed: the database then does not know the centroid's numbers. One row says with
# which key; without it nothing is sealed.
_SECOND = """
CREATE TABLE speaker_gallery.encryption (key_id text NOT NULL);
CREATE UNIQUE INDEX encryption_once ON speaker_gallery.encryption ((true));
ALTER TABLE speaker_gallery.speaker
    DROP CONSTRAINT speaker_check,
    ADD COLUMN sealed bytea,
    ADD CHECK ((speaker_id IS NULL) = (centroid IS NULL AND sealed IS NULL));
ALTER TABLE speaker_gallery.profile
    ALTER COLUMN document TYPE bytea USING convert_to(document, 'UTF8');
"""
MIGRATIONS = (_FIRST, _SECOND)  # of version 1, 2, ...: what is released is never changed


def is_there(connection: psycopg.Connection) -> bool:
    """Whether the tables were ever made."""
    [found] = connection.execute(
        "SELECT to_regclass('speaker_gallery.collection') IS NOT NULL"
    ).fetchone() or (False,)
    return bool(found)


def migrate(connection: psycopg.Connection) -> None:
    """Makes the tables, or brings them up to date; all of it or nothing.

    Raises:
        NotReady: pgvector is missing or too old, the role may not make tables, or a newer server
            has made them.
    """
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            _migrate(connection)
    except (errors.UndefinedFile, errors.FeatureNotSupported, errors.UndefinedObject) as error:
        raise NotReady(
            "The database has no pgvector: install it beside PostgreSQL (Debian's package is named "
            "postgresql-16-pgvector for PostgreSQL 16) and start again."
        ) from error
    except errors.InsufficientPrivilege as error:
        raise NotReady(
            "This role may not prepare the database: let its owner run `CREATE EXTENSION vector; "
            "CREATE SCHEMA speaker_gallery AUTHORIZATION ...` in it once, for this role."
        ) from error


def _migrate(connection: psycopg.Connection) -> None:
    if not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
        connection.execute("CREATE EXTENSION vector")
    if not connection.execute(
        "SELECT 1 FROM pg_namespace WHERE nspname = 'speaker_gallery'"
    ).fetchone():
        connection.execute("CREATE SCHEMA speaker_gallery")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS speaker_gallery.migration ("
        "version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    [version] = connection.execute(
        "SELECT coalesce(max(version), 0) FROM speaker_gallery.migration"
    ).fetchone() or (0,)
    if version > len(MIGRATIONS):
        raise NotReady(
            f"The database is of version {version}, made by a newer server; this one knows "
            f"{len(MIGRATIONS)}. Take the newer server."
        )
    for number, text in enumerate(MIGRATIONS[version:], version + 1):
        connection.execute(text)
        connection.execute("INSERT INTO speaker_gallery.migration (version) VALUES (%s)", (number,))
