"""Errors as `application/problem+json` (RFC 9457): one shape for every failure."""

from __future__ import annotations

import logging
import re

from flask import Flask, Response, json
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from utils.errors import SpeakerServerError, TooLarge

TYPE = "urn:speaker-identification:error:"

_log = logging.getLogger(__name__)


def problem(status: int, title: str, detail: str) -> Response:
    """Makes the answer of a failed request; `detail` is a sentence that says what to do."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|\s+", "-", title).lower()
    body = {"type": TYPE + words, "title": title, "status": status, "detail": detail}
    return Response(json.dumps(body), status, content_type="application/problem+json")


def answer_problems(app: Flask, max_mb: float) -> None:
    """Has an application answer every error so: ours, HTTP's, and bugs (500, without detail)."""

    @app.errorhandler(SpeakerServerError)
    def _ours(error: SpeakerServerError) -> Response:
        if error.status >= 500:
            _log.error("%s: %s", error.title, error)
        return problem(error.status, error.title, str(error))

    @app.errorhandler(RequestEntityTooLarge)
    def _too_large(_: RequestEntityTooLarge) -> Response:
        detail = f"The request is too large; send a recording of at most {max_mb:g} MiB."
        return problem(413, TooLarge.__name__, detail)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        answer = problem(error.code or 500, error.name, error.description or error.name)
        answer.headers.extend(
            (name, value) for name, value in error.get_headers() if name == "Allow"
        )
        return answer

    @app.errorhandler(Exception)
    def _bug(error: Exception) -> Response:
        _log.error("A request failed by a fault of the server.", exc_info=error)
        detail = "The server failed; its log says why. The request changed nothing that was said."
        return problem(500, "InternalError", detail)
