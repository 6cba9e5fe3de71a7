"""Errors as `application/problem+json` (RFC 9457): one shape for every failure."""

from __future__ import annotations

import logging
import re
from typing import Any

from flask import Flask, Response, json
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from utils.errors import (
    BadField,
    BadKey,
    Overloaded,
    SpeakerServerError,
    TooLarge,
    TooManyRequests,
)

TYPE = "urn:speaker-identification:error:"
MIMETYPE = "application/problem+json"

INTERNAL = (
    500,
    "InternalError",
    "The server failed; its log says why. The request changed nothing that was said.",
)
"""Status, title and sentence of a bug."""

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """Why a request failed."""

    type: str = Field(description=f"`{TYPE}` and the kind of error; leads to no page")
    title: str = Field(description="the kind of error; programs should look at it")
    status: int = Field(description="the HTTP status once more")
    detail: str = Field(description="a sentence: what was found, and what to do")


def _described(description: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {"description": description, "content": {MIMETYPE: {"schema": schema}}}


PROBLEMS: dict[str | int, Any] = {
    "400": _described("A field is missing or has no meaning"),
    "4XX": _described("The request cannot be answered; nothing was changed"),
    "5XX": _described("The server cannot answer now"),
}
"""What any route may answer instead, for the OpenAPI file."""


def problem(status: int, title: str, detail: str) -> Response:
    """Makes the answer of a failed request; `detail` is a sentence that says what to do."""
    return Response(json.dumps(problem_body(status, title, detail)), status, content_type=MIMETYPE)


def problem_body(status: int, title: str, detail: str) -> dict[str, Any]:
    """What a failure is told in, as `Problem` has it."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|\s+", "-", title).lower()
    return {"type": TYPE + words, "title": title, "status": status, "detail": detail}


def bad_field(error: ValidationError) -> BadField:
    """Says which field has no meaning, and what is wanted; what was sent is not repeated."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(each) for each in first["loc"])
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    if not place:
        return BadField(f"{said[:1].upper()}{said[1:]}.")
    if first["type"] == "missing":
        return BadField(f"{place} is missing; send it.")
    if first["type"] == "extra_forbidden":
        return BadField(f"There is no field {place!r} here; leave it out.")
    return BadField(f"The field {place!r} has no meaning: {said[:1].lower()}{said[1:]}.")


def answer_bad_field(error: ValidationError) -> Response:
    """For the fields that the OpenAPI library reads by itself: those of path, query and header."""
    return problem_of(bad_field(error))


def problem_of(error: SpeakerServerError) -> Response:
    """Makes the answer of one of our errors, with the headers that belong to it."""
    answer = problem(error.status, error.title, str(error))
    if isinstance(error, TooManyRequests | Overloaded):
        answer.headers["Retry-After"] = str(error.wait_s)
    if isinstance(error, BadKey):
        answer.headers["WWW-Authenticate"] = 'Bearer realm="speaker identification"'
    return answer


def answer_problems(app: Flask, max_mb: float) -> None:
    """Has an application answer every error so: ours, HTTP's, and bugs (500, without detail)."""

    @app.errorhandler(SpeakerServerError)
    def _ours(error: SpeakerServerError) -> Response:
        if error.status >= 500 and not isinstance(error, Overloaded):  # of which there are many
            _log.error("%s: %s", error.title, error)
        return problem_of(error)

    @app.errorhandler(RequestEntityTooLarge)
    def _too_large(_: RequestEntityTooLarge) -> Response:
        detail = (
            f"The request is too large; send a form with at most {max_mb:g} MiB of recordings and "
            "fewer than 1,000 fields."
        )
        return problem(413, TooLarge.__name__, detail)

    @app.errorhandler(ClientDisconnected)
    @app.errorhandler(ConnectionError)
    def _too_late(_: Exception) -> Response:
        detail = "The request did not arrive whole, or not in time; send it again."
        return problem(408, "Request Timeout", detail)

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        if isinstance(error.response, Response):  # made already, by `answer_bad_field`
            return error.response
        answer = problem(error.code or 500, error.name, error.description or error.name)
        answer.headers.extend(
            (name, value) for name, value in error.get_headers() if name == "Allow"
        )
        return answer

    @app.errorhandler(Exception)
    def _bug(error: Exception) -> Response:
        if type(error).__module__ == "gunicorn.http.errors":  # found while the body is read
            return problem(400, "Bad Request", "The body is not sent as HTTP has it; send it anew.")
        _log.error("A request failed by a fault of the server.", exc_info=error)
        return problem(*INTERNAL)
