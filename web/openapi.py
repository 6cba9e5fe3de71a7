"""The OpenAPI file, made of the routes' schemas, and Swagger UI over it, without outside hosts."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, send_from_directory
from flask_openapi.models.info import Info
from flask_openapi.openapi import OpenAPI

from utils.collections import DEFAULT
from web.access import ROLES
from web.problems import PROBLEMS, Problem, answer_bad_field

KEY = "key"
COLLECTION = {
    "name": "collection",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "default": DEFAULT},
    "description": "whose speakers are asked about; a key says so by itself",
}
PAGE = Path(__file__).parent / "docs"
VERSION = "1.0.0"  # of the interface, not of the program
ABOUT = (
    "Says who is speaking in a recording. Every failure is `application/problem+json` with a "
    "sentence that says what to do."
)


def make_app() -> OpenAPI:
    """An application without routes but those that describe it: /openapi.json and /docs."""
    app = OpenAPI(
        "speaker_identification",
        info=Info(title="Speaker identification", version=VERSION, description=ABOUT),
        doc_ui=False,
        responses=PROBLEMS,
        validation_error_status=400,
        validation_error_model=Problem,
        validation_error_callback=answer_bad_field,
        security_schemes={KEY: {"type": "http", "scheme": "bearer"}},
        static_folder=None,
    )
    app.openapi_version = "3.1.0"  # nothing here needs 3.2, which fewer tools read
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.register_blueprint(_documentation(app))
    app.register_blueprint(_swagger())
    return app


def describe_access(app: OpenAPI) -> None:
    """Has the OpenAPI file say which key every call needs, and that most ask one collection.

    To be called once, after all routes are there.
    """
    paths = app.api_doc["paths"]
    for (method, rule), needed in ROLES.items():
        path = re.sub(r"<(?:[^<>:]+:)?([^<>]+)>", r"{\1}", rule)
        operation = paths.get(path, {}).get(method.lower())
        if operation is None or needed == "open":
            continue
        operation["security"] = [{KEY: []}, {}]  # without any key on the server: none
        said = f"Needs a key that may {needed}, once there are keys."
        operation["description"] = " ".join([operation.get("description", ""), said]).strip()
        if not path.startswith("/v1/collections"):
            operation.setdefault("parameters", []).append(COLLECTION)


def _documentation(app: OpenAPI) -> Blueprint:
    routes = Blueprint("documentation", __name__, static_folder=PAGE, static_url_path="/docs/page")

    @routes.get("/openapi.json")
    def openapi() -> dict[str, Any]:
        """The OpenAPI file."""
        document: dict[str, Any] = app.api_doc
        return document

    @routes.get("/docs")
    def docs() -> Response:
        """Swagger UI over the OpenAPI file."""
        return send_from_directory(PAGE, "index.html")

    return routes


def _swagger() -> Blueprint:
    """Swagger UI's own files, as the package `flask-openapi-swagger` brings them."""
    folder = importlib.resources.files("flask_openapi_swagger") / "templates" / "swagger"
    return Blueprint(
        "swagger", __name__, static_folder=str(folder), static_url_path="/docs/swagger"
    )
