"""The routes: a request's fields in, `utils.identification` asked, its answer as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flask import Blueprint, request
from werkzeug.datastructures import FileStorage

from utils.errors import BadField, NotReady
from utils.identification import Answer, Identifier
from utils.speaker_id import parse_recording_name
from web.schemas import IdentificationFields, read_fields
from web.uploads import find_recording

ANSWER_CODE = "100001"
ANSWER_TEXT = "Voice Based Speaker Recognition - Speaker ID: {}"


def make_routes(identifier: Identifier, upload_roots: Sequence[Path]) -> Blueprint:
    routes = Blueprint("routes", __name__)

    @routes.post("/Identification_Request")
    def identification_request() -> dict[str, Any]:
        """Registers, re-registers or identifies the speaker of one recording."""
        fields, upload = read_fields(request)
        name = _recording_name(fields, upload)
        recording = parse_recording_name(name)
        if upload is not None:
            source: Any = upload.stream
        elif fields.path_dir:
            source = find_recording(fields.path_dir, name, upload_roots)
        else:
            raise BadField("path_dir is missing; say in which folder the recording lies, or send "
                           "the recording itself as `file`.")  # fmt: skip
        answer = identifier.answer(
            source, recording, re_register=fields.re_register, register=fields.register_
        )
        return answer_json(answer)

    @routes.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process runs."""
        return {"status": "ok"}

    @routes.get("/readyz")
    def readyz() -> dict[str, Any]:
        """The process can answer: its network is loaded and its gallery can be read."""
        try:
            speakers = len(identifier.gallery)
        except OSError as error:
            raise NotReady("The gallery cannot be read; check its folder.") from error
        return {
            "status": "ready",
            "engine": identifier.engine.name,
            "model_id": identifier.engine.model_id,
            "speakers": speakers,
            "files_skipped": len(identifier.gallery.skipped),
        }

    return routes


def answer_json(answer: Answer) -> dict[str, Any]:
    """The contract's line first, what it rests on beside it."""
    return {
        ANSWER_CODE: ANSWER_TEXT.format(answer.speaker_id),
        "speaker_id": answer.speaker_id,
        "decision": answer.decision,
        "score": round(answer.score, 6),
        "candidates": [
            {**dataclasses.asdict(each), "score": round(each.score, 6)}
            for each in answer.candidates
        ],
        "seconds": round(answer.seconds, 2),
        "timings_ms": answer.timings_ms,
    }


def _recording_name(fields: IdentificationFields, upload: FileStorage | None) -> str:
    name = fields.name or (upload.filename if upload is not None else None)
    if not name:
        raise BadField(
            "name is missing; send the recording's file name, <speaker ID>-<number>.mp4."
        )
    return name
