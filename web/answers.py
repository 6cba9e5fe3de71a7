"""What is said of verdicts and recordings, with as many digits as mean something."""

from __future__ import annotations

from typing import Any

from utils.decision import Verdict
from utils.gallery import Candidate
from utils.quality import Quality

LIVENESS = "not checked"  # replayed and synthetic voices are taken for real ones


def candidates_json(candidates: list[Candidate]) -> list[dict[str, Any]]:
    return [{"speaker_id": each.speaker_id, "score": round(each.score, 6)} for each in candidates]


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "probability": round(verdict.probability, 4),
        "stranger_chance": float(f"{verdict.stranger_chance:.3g}"),
        "llr": round(verdict.llr, 3),
        "margin": None if verdict.margin is None else round(verdict.margin, 3),
        "more_speech_s": None if verdict.more_speech_s is None else round(verdict.more_speech_s, 1),
    }


def quality_json(quality: Quality, has_two_voices: bool) -> dict[str, Any]:
    return {
        "speech_s": round(quality.speech_s, 2),
        "total_s": round(quality.total_s, 2),
        "snr_db": None if quality.snr_db is None else round(quality.snr_db, 1),
        "clipped_share": round(quality.clipped_share, 4),
        "two_voices": has_two_voices,
    }
