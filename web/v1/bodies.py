"""One schema for a body that comes as a form with files, or as JSON with base64 text in it."""

from __future__ import annotations

import base64
import binascii
from functools import cache
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, WithJsonSchema
from werkzeug.datastructures import FileStorage

from utils.errors import BadField
from web.problems import bad_field

FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})
BASE64 = {"type": "string", "format": "byte", "description": "an audio or video file, in base64"}
BINARY = {"type": "string", "format": "binary", "description": "an audio or video file"}

M = TypeVar("M", bound=BaseModel)


def _clip(value: Any) -> Any:
    if isinstance(value, FileStorage):
        return value.stream
    if not isinstance(value, str):
        raise ValueError("send a file in a form, or base64 text in JSON")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("this is not base64; send the file's bytes in it") from error


Clip = Annotated[Any, PlainValidator(_clip), WithJsonSchema(BASE64)]
"""A recording: an open stream of a form's file, or the bytes of base64 text."""


class Body(BaseModel):
    """The fields of a request. One that is not known is refused: it may be a slip of the pen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def described(model: type[Body]) -> dict[str, Any]:
    """The `request_body` of a route that reads this model, for the OpenAPI file."""
    as_json = model.model_json_schema()
    as_form = {**as_json, "properties": _as_files(as_json["properties"])}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": as_form},
            "application/json": {"schema": as_json},
        },
    }


def json_of_request() -> Any:
    """What the body says; None where it is no JSON, or nested deeper than anybody means."""
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None


def read_body(model: type[M]) -> M:
    """Reads this request's body.

    Raises:
        BadField: it is neither a form nor a JSON object, or a field is missing or has no meaning.
    """
    if request.is_json:
        raw = json_of_request()
        if not isinstance(raw, dict):
            raise BadField("The body is not a JSON object; send one with the fields of this route.")
    elif request.mimetype in FORMS:
        raw = _form(model)
    else:
        raise BadField(
            f"The body is of type {request.mimetype or 'none'!r}; send a form "
            "(multipart/form-data) or JSON."
        )
    try:
        return model.model_validate(raw, strict=request.is_json)
    except ValidationError as error:
        raise bad_field(error) from None  # its own words would repeat what was sent


def _form(model: type[BaseModel]) -> dict[str, Any]:
    """Fields and files by name; those that may be repeated as lists."""
    raw: dict[str, Any] = {**request.form.to_dict(), **request.files.to_dict()}
    for name in _lists(model) & raw.keys():
        raw[name] = request.files.getlist(name) or request.form.getlist(name)
    return raw


@cache
def _lists(model: type[BaseModel]) -> frozenset[str]:
    """The fields that may be repeated."""
    properties = model.model_json_schema()["properties"]
    return frozenset(name for name, schema in properties.items() if _is_list(schema))


def _is_list(schema: dict[str, Any]) -> bool:
    return any(each.get("type") == "array" for each in [schema, *schema.get("anyOf", [])])


def _as_files(properties: dict[str, Any]) -> dict[str, Any]:
    """The same properties, with files in the place of base64 text."""
    changed = {}
    for name, schema in properties.items():
        if schema.get("format") == BASE64["format"]:
            changed[name] = {**schema, **BINARY}
        elif schema.get("items", {}).get("format") == BASE64["format"]:
            changed[name] = {**schema, "items": BINARY}
        else:
            changed[name] = schema
    return changed
