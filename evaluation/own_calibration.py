"""Calibrates on an operator's own recordings: `python -m evaluation calibrate --mine FOLDER`.

The shipped calibration is moved towards what the recordings say, the more so the more speakers
there are: with PRIOR_SPEAKERS speakers half-way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from tqdm import tqdm

from evaluation.heard import listen
from evaluation.pictures import draw_scores
from utils.audio import decode
from utils.calibration import FILE, Calibration, Floats, load_calibration
from utils.embedding import BEST_MODEL, load_engine
from utils.errors import SpeakerServerError
from utils.speaker_id import RECORDING_SUFFIXES
from utils.speech import SpeechDetector

FEWEST_SPEAKERS = 5
ADVISED_SPEAKERS = 10
PRIOR_SPEAKERS = 20.0
SHARES = np.array([0.5, 0.35, 0.25, 0.15])  # of strangers: what so few speakers can say


@dataclass(frozen=True)
class Own:
    """The operator's recordings that have enough speech."""

    rows: np.ndarray  # (recordings, 64), rows of length 1
    seconds: Floats
    speaker: np.ndarray  # (recordings,)


def run(folder: Path, output: Path, picture: Path, max_fpir: float) -> int:
    """Writes the calibration, draws the picture, and says what to expect.

    Raises:
        SystemExit: there are too few speakers or recordings.
    """
    own = read_own(folder)
    shipped = load_calibration(BEST_MODEL, load_engine("onnx").model_id)
    fitted = fit(own, shipped)
    document = json.loads((BEST_MODEL / FILE).read_text())
    document |= {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "llr_line": fitted.llr_line,
        "strangers": {**document["strangers"], "curve": fitted.strangers.curve},
        "provenance": {
            "command": "python -m evaluation calibrate --mine",
            "speakers": int(np.unique(own.speaker).size),
            "recordings": len(own.rows),
            "moved_from": document["provenance"],
        },
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=2) + "\n")
    found = expect(own, fitted, max_fpir)
    draw_scores(found["target"], found["impostor"], found["threshold"], picture)
    print(words(own, found, max_fpir))
    print(f"{output}: start the server with --calibration {output}\n{picture}: the picture")
    return 0


def read_own(folder: Path) -> Own:
    """Hears a folder that has a folder for each speaker."""
    if not folder.is_dir():
        raise SystemExit(f"{folder}: there is no such folder; make one with a folder per speaker")
    files = sorted(
        path for path in folder.glob("*/*") if path.suffix[1:].lower() in RECORDING_SUFFIXES
    )
    engine, detector = load_engine("onnx"), SpeechDetector()
    rows, seconds, speakers, passed_over = [], [], [], 0
    for path in tqdm(files, "listen", unit="recording"):
        try:
            wave = decode(path)
        except SpeakerServerError as error:
            print(f"{path}: {error}")
            continue
        found = listen(wave, engine, detector)
        if found is None:
            passed_over += 1
            continue
        rows.append(found[0])
        seconds.append(found[1])
        speakers.append(path.parent.name)
    if passed_over:
        print(f"{passed_over} recordings have too little speech and take no part")
    names, counts = np.unique(speakers, return_counts=True)
    if np.sum(counts >= 2) < FEWEST_SPEAKERS:
        raise SystemExit(
            f"{folder}: {np.sum(counts >= 2)} speakers with two recordings or more that have "
            f"enough speech; {FEWEST_SPEAKERS} are needed, {ADVISED_SPEAKERS} advised"
        )
    return Own(np.stack(rows), np.array(seconds), np.searchsorted(names, speakers))


def fit(own: Own, shipped: Calibration) -> Calibration:
    """The shipped calibration, moved towards the operator's recordings."""
    n = np.unique(own.speaker).size
    share = n / (n + PRIOR_SPEAKERS)
    ratios, is_target = _ratios(own, shipped)
    weight = np.where(is_target, 0.5 / is_target.sum(), 0.5 / (~is_target).sum())
    sign = np.where(is_target, 1.0, -1.0)

    def cost(line: Floats) -> float:
        away = (line[0] - 1.0) ** 2 + (line[1] / 3.0) ** 2
        losses = weight @ np.logaddexp(0.0, -sign * (line[0] * ratios + line[1]))
        return float(share * losses + 0.1 * (1.0 - share) * away)

    scale, offset = minimize(cost, [1.0, 0.0], method="Nelder-Mead").x
    scale = max(float(scale), 0.1)
    first, *others = (scale * each for each in shipped.llr_line)
    slope, of_short, of_both = others
    best, level, enrolled = _strangers(own, shipped)
    model = shipped.strangers
    wanted = [model.threshold(each, enrolled) + level for each in SHARES]
    moved = share * float(np.mean(np.quantile(best, 1.0 - SHARES) - wanted))
    low, rise, bend = model.curve
    return replace(
        shipped,
        llr_line=(first + float(offset), slope, of_short, of_both),
        strangers=replace(model, curve=(low + moved, rise, bend)),
    )


def expect(own: Own, calibration: Calibration, max_fpir: float) -> dict[str, Any]:
    """What the calibration does on the recordings: each speaker in turn is a stranger.

    Returns:
        `fpir` and `fnir` at the threshold, the `threshold`, `target` and `impostor` scores.
    """
    best, level, enrolled = _strangers(own, calibration)
    wanted = calibration.strangers.threshold(max_fpir, enrolled) + level
    scores, is_target, _ = _scores(own, calibration)
    return {
        "threshold": wanted,
        "fpir": float(np.mean(best >= wanted)),
        "fnir": float(np.mean(scores[is_target] < wanted)),
        "target": scores[is_target],
        "impostor": scores[~is_target],
    }


def words(own: Own, found: dict[str, Any], max_fpir: float) -> str:
    """What to expect, in a few sentences."""
    n = np.unique(own.speaker).size
    text = (
        f"{n} speakers, {len(own.rows)} recordings. With these people enrolled, and 1 recording "
        f"each, expect that of 100 strangers about {100 * max_fpir:g} are taken for somebody "
        f"(here, with each speaker as a stranger in turn, {100 * found['fpir']:.0f} of 100 "
        f"recordings were), and that of 100 enrolled callers about {100 * found['fnir']:.0f} "
        "are not accepted."
    )
    if n < ADVISED_SPEAKERS:
        text += f" {n} speakers say little: give {ADVISED_SPEAKERS} or more."
    return text


def _scores(own: Own, calibration: Calibration) -> tuple[Floats, np.ndarray, np.ndarray]:
    """AS-norm of every pair of recordings, which are of one voice, and the places of both."""
    scores = calibration.compare(own.rows)
    one, other = np.triu_indices(len(own.rows), 1)
    return scores[one, other], own.speaker[one] == own.speaker[other], np.stack([one, other])


def _ratios(own: Own, calibration: Calibration) -> tuple[Floats, np.ndarray]:
    scores, is_target, (one, other) = _scores(own, calibration)
    return calibration.llr(scores, own.seconds[one], own.seconds[other]), is_target


def _strangers(own: Own, calibration: Calibration) -> tuple[Floats, float, int]:
    """Every recording's best score among the first recordings of the other speakers.

    Returns:
        (recordings,) scores, the level of the gallery, and how many are enrolled.
    """
    speakers, first = np.unique(own.speaker, return_index=True)
    scores = calibration.compare(own.rows, own.rows[first])
    scores[own.speaker[:, None] == speakers] = -np.inf
    return scores.max(axis=1), calibration.level(own.rows[first]), speakers.size - 1
