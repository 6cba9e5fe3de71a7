"""The routes: a request's fields in, `utils.identification` asked, its answer as JSON."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flask import Blueprint, request
from werkzeug.datastructures import FileStorage

from utils.decision import Verdict
from utils.errors import BadField, NotReady
from utils.identification import Answer, Identifier
from utils.speaker_id import parse_recording_name
from web.schemas import IdentificationFields, read_fields
from web.uploads import find_recording

ANSWER_CODE = "100001"
LIVENESS = "not checked"  # replayed and synthetic voices are taken for real ones
ANSWER_TEXT = "Voice Based Speaker Recognition - Speaker ID: {}"


log = logging.getLogger(__name__)


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
            source,
            recording,
            re_register=fields.re_register,
            register=fields.register_,
            add=fields.add,
        )
        _log_decision(answer)
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


def _log_decision(answer: Answer) -> None:
    """What was decided and why, without who."""
    verdict = answer.verdict
    if verdict is None:
        log.info("%s: %.1f s of speech", answer.decision, answer.quality.speech_s)
    else:
        log.info(
            "%s, %s: %.1f s of speech, cosine %.3f, LLR %.2f, probability %.3f, "
            "stranger chance %.2g",
            answer.decision,
            verdict.outcome,
            answer.quality.speech_s,
            answer.score,
            verdict.llr,
            verdict.probability,
            verdict.stranger_chance,
        )


def answer_json(answer: Answer) -> dict[str, Any]:
    """The contract's line first, what it rests on beside it."""
    return {
        ANSWER_CODE: ANSWER_TEXT.format(answer.speaker_id),
        "speaker_id": answer.speaker_id,
        "decision": answer.decision,
        "score": round(answer.score, 6),
        "candidates": [
            {"speaker_id": each.speaker_id, "score": round(each.score, 6)}
            for each in answer.candidates
        ],
        "verdict": _verdict_json(answer.verdict) if answer.verdict else None,
        "quality": _quality_json(answer),
        "duplicate_of": answer.duplicate_of,
        "matches_before": answer.matches_before,
        "liveness": LIVENESS,
        "seconds": round(answer.quality.speech_s, 2),
        "timings_ms": answer.timings_ms,
    }


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "probability": round(verdict.probability, 4),
        "stranger_chance": float(f"{verdict.stranger_chance:.3g}"),
        "llr": round(verdict.llr, 3),
        "margin": None if verdict.margin is None else round(verdict.margin, 3),
        "more_speech_s": None if verdict.more_speech_s is None else round(verdict.more_speech_s, 1),
    }


def _quality_json(answer: Answer) -> dict[str, Any]:
    quality = answer.quality
    return {
        "speech_s": round(quality.speech_s, 2),
        "total_s": round(quality.total_s, 2),
        "snr_db": None if quality.snr_db is None else round(quality.snr_db, 1),
        "clipped_share": round(quality.clipped_share, 4),
        "two_voices": answer.has_two_voices,
    }


def _recording_name(fields: IdentificationFields, upload: FileStorage | None) -> str:
    name = fields.name or (upload.filename if upload is not None else None)
    if not name:
        raise BadField(
            "name is missing; send the recording's file name, <speaker ID>-<number>.mp4."
        )
    return name
