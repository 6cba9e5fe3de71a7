"""Verification trials: lists of `1 enrolled probe` (target) and `0 enrolled probe` (impostor)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.audio import Audio, speaker_of
from evaluation.conditions import Condition
from evaluation.embeddings import embed_all
from evaluation.likelihood import calibrate, cllr, min_cllr
from evaluation.metrics import Scores, bootstrap, crossing, error_rates, lowest_cost
from evaluation.pictures import draw_det
from evaluation.systems import System, load_system

SEED = 2026  # of the bootstrap


@dataclass(frozen=True)
class TrialList:
    """A list, as three columns."""

    name: str
    is_target: npt.NDArray[np.bool_]
    enrolled: list[str]
    probes: list[str]

    @cached_property
    def speakers(self) -> npt.NDArray[np.str_]:
        """(trials,) who is enrolled in each.

        Recordings of one folder are of one speaker, and so are those of a target trial.
        """
        first: dict[str, str] = {}

        def find(name: str) -> str:
            while name in first:
                name = first[name]
            return name

        for target, one, other in zip(self.is_target, self.enrolled, self.probes, strict=True):
            pairs = [(one, f"folder {speaker_of(one)}"), (other, f"folder {speaker_of(other)}")]
            for left, right in [*pairs, *([(one, other)] if target else [])]:
                left, right = find(left), find(right)
                if left != right:
                    first[left] = right
        return np.array([find(name) for name in self.enrolled])


def read_list(path: Path) -> TrialList:
    """Reads a list.

    Raises:
        SystemExit: a line is no trial, or there are no trials of one kind.
    """
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) != 3 or line[0] not in {"0", "1"}:
            raise SystemExit(f"{path}, trial {number}: `1 enrolled probe` or `0 ...` is needed")
    labels = np.array([line[0] == "1" for line in lines], np.bool_)
    if labels.all() or not labels.any():
        raise SystemExit(f"{path}: target (1) and impostor (0) trials are both needed")
    return TrialList(path.stem, labels, [line[1] for line in lines], [line[2] for line in lines])


def score(
    trials: TrialList,
    system: System,
    audio: Audio,
    condition: Condition,
    cache: Path | None = None,
) -> Scores:
    """(trials,) cosines."""
    sides = []
    for names, as_probe in ((trials.enrolled, False), (trials.probes, True)):
        different = sorted(set(names))
        rows = embed_all(system, different, audio, condition, as_probe=as_probe, cache=cache)
        place = {name: row for row, name in enumerate(different)}
        sides.append(rows[[place[name] for name in names]])
    cosines: Scores = np.einsum("ij,ij->i", *sides).astype(np.float64)
    return cosines


def figures(trials: TrialList, scores: Scores) -> dict[str, Any]:
    """What a report keeps of a list: error rates with their 95 % intervals over speakers.

    Returns:
        eer_percent, min_dcf_p01, min_dcf_p05 and cllr, each with `..._interval`; min_cllr, which
        has none; and the numbers of trials. Cllr is of cosines calibrated as `calibrate` does it.
    """
    target, impostor = scores[trials.is_target], scores[~trials.is_target]
    who = (trials.speakers[trials.is_target], trials.speakers[~trials.is_target])
    found = _rates(target, impostor)
    intervals = bootstrap(_rates, target, impostor, *who, rng=np.random.default_rng(SEED))
    try:
        ratios = calibrate(target, impostor, *who)
    except ValueError:  # a list of two speakers has no half with both kinds
        found["cllr"] = None
    else:
        found["cllr"] = cllr(*ratios)
        intervals |= bootstrap(
            lambda t, i: {"cllr": cllr(t, i)}, *ratios, *who, rng=np.random.default_rng(SEED)
        )
    return {
        **found,
        "min_cllr": min_cllr(target, impostor),
        **{f"{name}_interval": list(ends) for name, ends in intervals.items()},
        "targets": int(target.size),
        "impostors": int(impostor.size),
    }


def _rates(target: Scores, impostor: Scores) -> dict[str, Any]:
    _, misses, false_alarms = error_rates(target, impostor)
    return {
        "eer_percent": 100.0 * crossing(misses, false_alarms),
        "min_dcf_p01": lowest_cost(misses, false_alarms, 0.01),
        "min_dcf_p05": lowest_cost(misses, false_alarms, 0.05),
    }


def run(
    lists: Sequence[Path],
    audio_root: Path,
    system: str,
    speech: Path,
    condition: Condition,
    json_path: Path | None,
    det: Path | None,
) -> int:
    """`python -m evaluation trials`: prints a line a list."""
    loaded = load_system(system, speech)
    audio = Audio(audio_root)
    results, curves = {}, {}
    for path in lists:
        trials = read_list(path)
        scores = score(trials, loaded, audio, condition)
        results[trials.name] = found = figures(trials, scores)
        curves[trials.name] = (scores[trials.is_target], scores[~trials.is_target])
        low, high = found["eer_percent_interval"]
        print(
            f"{trials.name:14} {condition.name:10} EER {found['eer_percent']:5.2f} % "
            f"({low:.2f} to {high:.2f})  minDCF(0.01) {found['min_dcf_p01']:.3f}  "
            f"{found['targets']} targets, {found['impostors']} impostors"
        )
    if det:
        draw_det(curves, f"{system}, {condition.name}", det)
    if json_path:
        document = {
            "system": loaded.name,
            "version": loaded.version,
            "condition": condition.name,
            "lists": results,
        }
        json_path.write_text(json.dumps(document, indent=2) + "\n")
    return 0
