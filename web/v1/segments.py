"""Who spoke when in a recording of several voices."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from utils.questions import Conversation
from utils.segments import to_rttm
from web.answers import verdict_json
from web.v1.bodies import Body, Clip, described, read_body
from web.v1.common import component, current_identifier, make_blueprint
from web.v1.schemas import SegmentsOut

UNNAMED = "recording"


class SegmentsBody(Body):
    audio: Clip


class SegmentsQuery(BaseModel):
    format: Literal["json", "rttm"] = Field(
        "json", description="`rttm`: NIST's Rich Transcription Time Marked text, a line a turn"
    )


def make_segments_routes() -> APIBlueprint:
    routes = make_blueprint("segments", "Who spoke when?")
    answered = {
        "description": "The turns",
        "content": {
            "application/json": {"schema": component(routes, SegmentsOut)},
            "text/plain": {"schema": {"type": "string"}},
        },
    }

    @routes.post("/segments", request_body=described(SegmentsBody), responses={"200": answered})
    def segments(query: SegmentsQuery) -> dict[str, Any] | Response:
        """Who spoke when?

        Each voice is one of the enrolled speakers or numbered. One voice at a time: where two
        speak at once, one of them gets the turn. Without speech there are no turns.
        """
        body = read_body(SegmentsBody)
        found = current_identifier().segments(body.audio)
        if query.format == "rttm":
            return Response(to_rttm(found.turns, _name()), mimetype="text/plain")
        return segments_json(found)

    return routes


def segments_json(found: Conversation) -> dict[str, Any]:
    """As `SegmentsOut` has it."""
    return {
        "duration_s": round(found.duration_s, 3),
        "turns": [
            {
                "start_s": round(turn.start_s, 3),
                "end_s": round(turn.end_s, 3),
                "speaker": turn.speaker,
                "speaker_id": turn.speaker_id,
                "verdict": verdict_json(turn.verdict) if turn.verdict else None,
            }
            for turn in found.turns
        ],
        "timings_ms": found.timings_ms,
    }


def _name() -> str:
    """What RTTM calls the recording: its file's name without the ending."""
    upload = request.files.get("audio")
    return PurePath(upload.filename or "").stem or UNNAMED if upload else UNNAMED
