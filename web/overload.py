"""What is done with recordings while no more of them may wait: as little as can be.

A refusal has to cost far less than an answer, or a flood outlives itself. So an upload is refused
before Flask learns of it, and before it is taken apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from wsgiref.types import InputStream, StartResponse, WSGIEnvironment

from flask import Flask
from werkzeug.exceptions import HTTPException

from utils.admission import Admission
from utils.errors import Overloaded
from web.logs import HEADER, log_answer, new_request_id
from web.metrics import count_answer
from web.problems import problem_of

_PIECE = 1 << 16  # bytes
_ASKED_ID = "HTTP_" + HEADER.upper().replace("-", "_")


def refuse_early(app: Flask, admission: Admission) -> None:
    """Has an application refuse uploads while the queue is full.

    Whoever asks is not looked at: a refusal shows nothing, and no key is tried by it.
    """
    ask_flask = app.wsgi_app
    most_bytes = app.config["MAX_CONTENT_LENGTH"]

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not admission.is_full:
            return ask_flask(environ, start_response)
        started = time.perf_counter()
        size = _size_of_form(environ)
        if size is None or size > most_bytes or (route := _route(app, environ)) is None:
            return ask_flask(environ, start_response)
        with suppress(OSError):  # whoever sends no more, or too slowly, hears of it or has left
            _read_away(environ["wsgi.input"], size)
        refusal = problem_of(Overloaded())
        request_id = refusal.headers[HEADER] = new_request_id(environ.get(_ASKED_ID, ""))
        seconds = time.perf_counter() - started
        method = environ["REQUEST_METHOD"]
        count_answer(route, method, refusal.status_code, seconds)
        log_answer(route, method, refusal.status_code, seconds, request_id=request_id)
        return refusal(environ, start_response)

    app.wsgi_app = answer  # type: ignore[method-assign] # as Flask's documentation has it


def _size_of_form(environ: WSGIEnvironment) -> int | None:
    """Bytes of a form with files; None for anything else, and where its size is not said."""
    kind, size = environ.get("CONTENT_TYPE", ""), environ.get("CONTENT_LENGTH", "")
    is_form = kind.partition(";")[0].strip().lower() == "multipart/form-data"
    return int(size) if is_form and size.isdecimal() else None


def _route(app: Flask, environ: WSGIEnvironment) -> str | None:
    try:
        rule, _ = app.url_map.bind_to_environ(environ).match(return_rule=True)
    except HTTPException:
        return None
    return rule.rule


def _read_away(stream: InputStream, size: int) -> None:
    """A connection that is closed with something unread in it may lose the answer."""
    while size > 0 and (piece := stream.read(min(size, _PIECE))):
        size -= len(piece)
