"""The log: a line a request with an ID that the answer has too, as text or as JSON.

No speaker's ID, file name, key or embedding gets into it; a route is named by its rule.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
import traceback
from datetime import UTC, datetime
from typing import Any, Literal

from flask import Flask, Response, g, has_request_context, request

LogFormat = Literal["text", "json"]

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger(__name__)


def set_up(log_format: LogFormat) -> None:
    """Sends everything that is logged in this process to the standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_AsJson() if log_format == "json" else _AsText())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)


def log_requests(app: Flask) -> None:
    """Gives each request an ID, the client's own where it is a plain word, and a line."""

    @app.before_request
    def _begin() -> None:
        g.request_id = new_request_id(request.headers.get(HEADER, ""))
        g.log_started = time.perf_counter()

    @app.after_request
    def _end(response: Response) -> Response:
        response.headers[HEADER] = g.get("request_id", "")
        log_answer(
            request.url_rule.rule if request.url_rule else None,
            request.method if request.method.isalpha() else "other",
            response.status_code,
            time.perf_counter() - g.get("log_started", time.perf_counter()),
            key_id=g.get("key_id"),
        )
        return response


def new_request_id(asked: str) -> str:
    """The ID that a client asks for, where it is a plain word; otherwise one of ours."""
    return asked if _SANE.fullmatch(asked) else secrets.token_hex(8)


def log_answer(
    route: str | None,
    method: str,
    status: int,
    seconds: float,
    *,
    key_id: str | None = None,
    request_id: str | None = None,
) -> None:
    """Writes a request's line; `request_id` where Flask knows of no request."""
    ms = round(1e3 * seconds, 1)
    fields = {"method": method, "route": route, "status": status, "ms": ms, "key": key_id}
    log.info(
        "{method} {route} {status} {ms} ms".format(**fields),
        extra={"fields": fields, "request_id": request_id},
    )


class _Nameless(logging.Formatter):
    """A failure's place and kind, without its words: they may repeat what a request held."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        error, lines = ei[1], []
        while error is not None:
            frames = "".join(traceback.format_tb(error.__traceback__))
            lines.append(f"{frames}{type(error).__module__}.{type(error).__qualname__}")
            error = error.__cause__ or error.__context__
        return "\nbefore it:\n".join(lines)


class _AsText(_Nameless):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(request)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        request_id = _request_id(record)
        record.request = f"[{request_id}] " if request_id else ""
        return super().format(record)


class _AsJson(_Nameless):
    """One object a line; what a request's line says beside its words as fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": _request_id(record),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def _request_id(record: logging.LogRecord) -> str | None:
    told: str | None = getattr(record, "request_id", None)
    return told or (g.get("request_id") if has_request_context() else None)
