"""The interface under /v1 in tests: a client of an application that knows six sample voices."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import DATA
from web.application import create_app
from web.settings import Settings

ENROLLED = range(1, 7)
STRANGER = 7


def clip(speaker: int, number: int) -> Path:
    return DATA / f"ast{speaker}@example.org-{number}.mp4"


def name(speaker: int) -> str:
    return f"ast{speaker}@example.org"


@contextlib.contextmanager
def application(folder: Path, **settings: Any) -> Iterator[FlaskClient]:
    """A client of an application over an empty gallery, whose answers are held to their schemas."""
    app = create_app(Settings(decoders=0, gallery=folder, **settings))
    app.validate_response = True
    yield app.test_client()
    app.extensions["galleries"].close()


@contextlib.contextmanager
def six_voices(folder: Path, **settings: Any) -> Iterator[FlaskClient]:
    """The same, with six of the sample voices enrolled."""
    with application(folder, **settings) as client:
        for speaker in ENROLLED:
            with clip(speaker, 0).open("rb") as file:
                fields = {"file": (file, clip(speaker, 0).name)}
                reply = client.post("/Identification_Request", data=fields)
            assert reply.status_code == 200, reply.text
        yield client


def send(client: FlaskClient, path: str, recordings: dict[str, Path], **fields: Any) -> Any:
    """Posts a form, which is to succeed; gives what is answered."""
    files = {
        field: (io.BytesIO(recording.read_bytes()), "any.mp4")
        for field, recording in recordings.items()
    }
    reply = client.post(path, data={**files, **fields})
    assert reply.status_code == 200, reply.text
    return reply.json


def in_base64(recording: Path) -> str:
    return base64.b64encode(recording.read_bytes()).decode()


def refused(reply: TestResponse) -> tuple[int, str, str]:
    """Status, title and sentence of a problem."""
    assert reply.mimetype == "application/problem+json"
    assert reply.json is not None
    return reply.status_code, reply.json["title"], reply.json["detail"]
