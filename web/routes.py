"""The routes: a request's fields in, `utils.identification` asked, its answer as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flask import current_app, request
from flask_openapi.blueprint import APIBlueprint
from werkzeug.datastructures import FileStorage

from utils.collections import DEFAULT, Collections
from utils.errors import BadField, NotAllowed, NotReady
from utils.identification import Answer
from utils.speaker_id import parse_recording_name
from web.access import may
from web.answers import LIVENESS, candidates_json, quality_json, verdict_json
from web.decided import note
from web.schemas import SEED_BODY, AnswerOut, HealthOut, IdentificationFields, ReadyOut, read_fields
from web.uploads import open_recording
from web.v1.common import current_identifier, make_blueprint

ANSWER_CODE = "100001"
ANSWER_TEXT = "Voice Based Speaker Recognition - Speaker ID: {}"


def make_routes(upload_roots: Sequence[Path]) -> APIBlueprint:
    routes = make_blueprint("server", "The first interface, and how the server does.", None)

    @routes.post("/Identification_Request", request_body=SEED_BODY, responses={200: AnswerOut})
    def identification_request() -> dict[str, Any]:
        """Registers, re-registers or identifies the speaker of one recording."""
        fields, upload = read_fields(request)
        name = _recording_name(fields, upload)
        recording = parse_recording_name(name)
        enrols = may("enrol")  # with another key one may only ask
        if not enrols and (fields.re_register or fields.add):
            raise NotAllowed("This key may only identify; leave re_register and add out.")
        if upload is not None:
            source: Any = upload.stream
        elif fields.path_dir:
            source = open_recording(fields.path_dir, name, upload_roots)
        else:
            raise BadField("path_dir is missing; say in which folder the recording lies, or send "
                           "the recording itself as `file`.")  # fmt: skip
        with source:
            answer = current_identifier().answer(
                source,
                recording,
                re_register=fields.re_register,
                register=fields.register_ and enrols,
                add=fields.add,
            )
        _note(answer)
        return answer_json(answer)

    @routes.get("/healthz", responses={200: HealthOut})
    def healthz() -> dict[str, str]:
        """The process runs."""
        return {"status": "ok"}

    @routes.get("/readyz", responses={200: ReadyOut})
    def readyz() -> dict[str, Any]:
        """The process can answer: its network is loaded and its gallery can be read."""
        collections: Collections = current_app.extensions["galleries"]
        identifier = collections[DEFAULT]
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


def _note(answer: Answer) -> None:
    note(
        answer.decision,
        answer.verdict.outcome if answer.verdict else None,
        answer.timings_ms,
        speech_s=answer.quality.speech_s,
        score=answer.score,
        verdict=answer.verdict,
    )


def answer_json(answer: Answer) -> dict[str, Any]:
    """The contract's line first, what it rests on beside it."""
    return {
        ANSWER_CODE: ANSWER_TEXT.format(answer.speaker_id),
        "speaker_id": answer.speaker_id,
        "decision": answer.decision,
        "score": round(answer.score, 6),
        "candidates": candidates_json(answer.candidates),
        "verdict": verdict_json(answer.verdict) if answer.verdict else None,
        "quality": quality_json(answer.quality, answer.has_two_voices),
        "duplicate_of": answer.duplicate_of,
        "matches_before": answer.matches_before,
        "liveness": LIVENESS,
        "seconds": round(answer.quality.speech_s, 2),
        "timings_ms": answer.timings_ms,
    }


def _recording_name(fields: IdentificationFields, upload: FileStorage | None) -> str:
    name = fields.name or (upload.filename if upload is not None else None)
    if not name:
        raise BadField(
            "name is missing; send the recording's file name, <speaker ID>-<number>.mp4."
        )
    return name
