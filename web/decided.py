"""What was decided, told to the log and to the metrics: how sure and how long, without who."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from utils.decision import Verdict
from web.metrics import DECISIONS, STAGES

log = logging.getLogger(__name__)


def note(
    decision: str,
    outcome: str | None,
    timings_ms: Mapping[str, float],
    *,
    speech_s: float | None = None,
    score: float | None = None,
    verdict: Verdict | None = None,
) -> None:
    """Tells of one recording.

    Args:
        decision: what was done: "identified", "registered", "verified", ...
        outcome: what came out, None where nothing was judged.
        timings_ms: by stage, and "total".
        speech_s: of the recording.
        score: cosine of the nearest speaker.
    """
    DECISIONS.labels(decision, outcome or "none").inc()
    for stage, milliseconds in timings_ms.items():
        if stage != "total":
            STAGES.labels(stage).observe(milliseconds / 1e3)
    words = [decision if outcome is None else f"{decision}, {outcome}"]
    if speech_s is not None:
        words.append(f"{speech_s:.1f} s of speech")
    if score is not None and verdict is not None:
        words.append(
            f"cosine {score:.3f}, LLR {verdict.llr:.2f}, probability {verdict.probability:.3f}, "
            f"stranger chance {verdict.stranger_chance:.2g}"
        )
    log.info(": ".join([words[0], ", ".join(words[1:])]) if words[1:] else words[0])
