"""The pages in the browser: plain files of this folder, and a policy that lets nothing else in."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_from_directory

PAGES = Path(__file__).parent / "console"
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)


def make_console() -> Blueprint:
    pages = Blueprint("console", __name__)

    @pages.get("/")
    def console() -> Response:
        """The page; all it needs comes from this server."""
        return _with_policy(send_from_directory(PAGES, "index.html", max_age=0))

    @pages.get("/console/<path:filename>", endpoint="static")
    def console_file(filename: str) -> Response:
        """A script, a style, a picture of the page."""
        return _with_policy(send_from_directory(PAGES, filename, max_age=0))

    return pages


def _with_policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Permissions-Policy"] = "microphone=(self), camera=(), geolocation=()"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
