"""What requests hold: text in, checked values out."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from werkzeug.datastructures import FileStorage

from utils.errors import BadField


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


Flag = Annotated[bool, BeforeValidator(_stripped)]
"""`True` or `False` as text in any case (also 1/0, yes/no), or a JSON boolean."""


class IdentificationFields(BaseModel):
    """The fields of `POST /Identification_Request`; any others are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str | None = None
    path_dir: str | None = None
    re_register: Flag = False
    register_: Flag = Field(True, alias="register")
    add: Flag = False


def read_fields(request: Request) -> tuple[IdentificationFields, FileStorage | None]:
    """Reads the fields of a form or a JSON object, and the uploaded file if there is one.

    Raises:
        BadField: the body is neither, or a field's value has no meaning.
    """
    if request.is_json:
        raw = request.get_json(silent=True)
        if not isinstance(raw, dict):
            raise BadField('The body is not a JSON object; send {"name": ..., "path_dir": ...}.')
    elif request.mimetype in {"application/x-www-form-urlencoded", "multipart/form-data"}:
        raw = request.form.to_dict()
    else:
        raise BadField(
            f"The body is of type {request.mimetype or 'none'!r}; send a form "
            "(application/x-www-form-urlencoded or multipart/form-data) or JSON."
        )
    try:
        fields = IdentificationFields.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        wanted = "True or False" if first["type"].startswith("bool") else "text"
        raise BadField(f"The field {first['loc'][0]!r} has no meaning; send {wanted}.") from error
    return fields, request.files.get("file")
