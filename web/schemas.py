"""What requests of the first interface hold, text in, checked values out; and its answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from werkzeug.datastructures import FileStorage

from utils.errors import BadField
from web.v1.bodies import BINARY, json_of_request
from web.v1.schemas import CandidateOut, QualityOut, VerdictOut


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


class AnswerOut(BaseModel):
    """The contract's line first, what it rests on beside it."""

    line: str = Field(
        alias="100001", description="`Voice Based Speaker Recognition - Speaker ID: <ID>`"
    )
    speaker_id: str
    decision: Literal["registered", "re_registered", "recording_added", "identified"]
    score: float
    candidates: list[CandidateOut]
    verdict: VerdictOut | None = Field(description="null of a registration")
    quality: QualityOut
    duplicate_of: str | None
    matches_before: bool | None
    liveness: Literal["not checked"]
    seconds: float
    timings_ms: dict[str, float]


class HealthOut(BaseModel):
    """The process runs."""

    status: Literal["ok"]


class ReadyOut(BaseModel):
    """The process can answer."""

    status: Literal["ready"]
    engine: str
    model_id: str
    speakers: int
    files_skipped: int


def _seed_body() -> dict[str, Any]:
    schema = IdentificationFields.model_json_schema()
    with_file = {**schema, "properties": {**schema["properties"], "file": BINARY}}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": with_file},
            "application/x-www-form-urlencoded": {"schema": schema},
            "application/json": {"schema": schema},
        },
    }


SEED_BODY = _seed_body()
"""The body of `POST /Identification_Request`, for the OpenAPI file."""


def read_fields(request: Request) -> tuple[IdentificationFields, FileStorage | None]:
    """Reads the fields of a form or a JSON object, and the uploaded file if there is one.

    Raises:
        BadField: the body is neither, or a field's value has no meaning.
    """
    if request.is_json:
        raw = json_of_request()
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
