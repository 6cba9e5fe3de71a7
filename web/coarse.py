"""Scores as ordinary keys see them: in steps, and not below what would be somebody.

Who may ask again and again, and sees every score, learns a voice: each score is an equation for
the 64 numbers that are enrolled, and the network that makes the other side of it is open. With
exact ones 64 questions are enough; so what is far from everybody is shown as no more than that
(`python -m reliability climb` has the figures). Admin keys see all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, json

STEPS: Mapping[str, float] = {
    "score": 0.05,
    "probability": 0.05,
    "llr": 1.0,
    "margin": 1.0,
    "more_speech_s": 1.0,  # it follows from the score
}
FLOORS: Mapping[str, float] = {"score": 0.5, "probability": 0.5, "llr": 0.0, "margin": 0.0}
CHANCE = "stranger_chance"  # in powers of ten
LIKELY = 0.03  # a chance above it is shown as 1


def coarsen(value: Any) -> Any:
    """The same JSON with every score in it rounded to its step, however deep it lies.

    Example:
        >>> coarsen({"candidates": [{"speaker_id": "kim", "score": 0.8137}], "seconds": 6.14})
        {'candidates': [{'speaker_id': 'kim', 'score': 0.8}], 'seconds': 6.14}
        >>> coarsen({"score": 0.31, "probability": 0.02})
        {'score': 0.5, 'probability': 0.5}
        >>> coarsen({"stranger_chance": 0.000248, "llr": 8.901, "margin": None})
        {'stranger_chance': 0.0001, 'llr': 9.0, 'margin': None}
    """
    if isinstance(value, dict):
        return {name: _in_steps(name, each) for name, each in value.items()}
    if isinstance(value, list):
        return [coarsen(each) for each in value]
    return value


def show_in_steps(app: Flask) -> None:
    """Has every JSON answer of an application go through `coarsen`, but for admin keys.

    What is streamed does not come by here: its routes ask `is_exact` themselves.
    """

    @app.after_request
    def _coarsen(response: Response) -> Response:
        if response.mimetype == "application/json" and not is_exact() and not response.is_streamed:
            response.set_data(json.dumps(coarsen(response.get_json())))
        return response


def is_exact() -> bool:
    """Whether this request's key sees scores as they are."""
    return bool(g.get("exact", True))


def _in_steps(name: str, value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name in STEPS:
            in_steps = round(round(value / STEPS[name]) * STEPS[name], 2)
            return max(in_steps, FLOORS.get(name, in_steps))
        if name == CHANCE and value > LIKELY:
            return 1.0
        if name == CHANCE:
            return 0.0 if value <= 0 else float(f"1e{round(math.log10(value))}")
    return coarsen(value)
