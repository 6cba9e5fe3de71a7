"""Verification trials: lists of `1 enrolled probe` (target) and `0 enrolled probe` (impostor)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.audio import Audio, speaker_of
from evaluation.bootstrap import bootstrap
from evaluation.conditions import Condition
from evaluation.embeddings import embed_all
from evaluation.files import read_text, write_json
from evaluation.likelihood import calibrate, cllr, least_cllr
from evaluation.metrics import Scores, Steps, crossing, lowest_cost, rates
from evaluation.pictures import det_curve, draw_det
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
        """(trials, 2): who is enrolled in each and who asks.

        Recordings of a target trial are of one speaker, and so are those of one folder. Where
        that would make one speaker of the two sides of an impostor trial, folders hold recordings
        of many, and target trials alone tell.
        """
        sides = np.array([self.enrolled, self.probes]).T
        folders = [(name, f"folder {speaker_of(name)}") for name in np.unique(sides).tolist()]
        targets = sides[self.is_target].tolist()
        by_folder = _grouped(sides, [*folders, *targets])
        one_speaker = by_folder[:, 0] == by_folder[:, 1]
        if (one_speaker & ~self.is_target).any():
            return _grouped(sides, targets)
        return by_folder


def _grouped(names: npt.NDArray[np.str_], pairs: Iterable[Sequence[str]]) -> npt.NDArray[np.str_]:
    """Each name replaced by that which stands for its group; the two of a pair are in one group."""
    stands_for: dict[str, str] = {}

    def find(name: str) -> str:
        while name in stands_for:
            name = stands_for[name]
        return name

    for left, right in pairs:
        left, right = find(left), find(right)
        if left != right:
            stands_for[left] = right
    return np.array([[find(name) for name in row] for row in names.tolist()])


def read_list(path: Path) -> TrialList:
    """Reads a list.

    Raises:
        SystemExit: there is no such text, a line is no trial, or trials of one kind are missing.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
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
        eer_percent, min_dcf_p01, min_dcf_p05, min_cllr and cllr, each with `..._interval`, and
        the numbers of trials. Cllr is of cosines calibrated as `calibrate` does it; it is None
        where the list has too few speakers for that.
    """
    target, impostor = scores[trials.is_target], scores[~trials.is_target]
    of_target, of_impostor = trials.speakers[trials.is_target], trials.speakers[~trials.is_target]
    steps = Steps(target, impostor)
    try:
        ratios = calibrate(target, impostor, of_target[:, 0], of_impostor[:, 0])
    except ValueError:  # a half of the speakers lacks trials of one kind
        ratios = None

    def of_weights(targets: Scores | None, impostors: Scores | None) -> dict[str, float]:
        found = _rates(*steps.masses(targets, impostors))
        return found if ratios is None else {**found, "cllr": cllr(*ratios, targets, impostors)}

    rng = np.random.default_rng(SEED)
    intervals = bootstrap(of_weights, of_target[:, 0], of_impostor, rng=rng)
    return {
        "cllr": None,
        **of_weights(None, None),
        **{f"{name}_interval": list(ends) for name, ends in intervals.items()},
        "targets": int(target.size),
        "impostors": int(impostor.size),
    }


def _rates(targets: Scores, impostors: Scores) -> dict[str, float]:
    misses, false_alarms = rates(targets, impostors)
    return {
        "eer_percent": 100.0 * crossing(misses, false_alarms),
        "min_dcf_p01": lowest_cost(misses, false_alarms, 0.01),
        "min_dcf_p05": lowest_cost(misses, false_alarms, 0.05),
        "min_cllr": least_cllr(targets, impostors),
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
    """`python -m evaluation trials`: prints a line a list.

    The JSON has the figures of one list at its top, those of several by their names in `lists`.
    """
    read = [read_list(path) for path in lists]
    if len({trials.name for trials in read}) < len(read):
        raise SystemExit("figures go by the lists' names, and two lists have the same")
    audio = Audio(audio_root)
    loaded = load_system(system, speech)
    results, curves = {}, {}
    for trials in read:
        scores = score(trials, loaded, audio, condition)
        results[trials.name] = found = figures(trials, scores)
        curves[trials.name] = det_curve(scores[trials.is_target], scores[~trials.is_target])
        low, high = found["eer_percent_interval"]
        cost = "none" if found["cllr"] is None else f"{found['cllr']:.3f}"
        print(
            f"{trials.name:14} {condition.name:10} EER {found['eer_percent']:5.2f} % "
            f"({low:.2f} to {high:.2f})  minDCF(0.01) {found['min_dcf_p01']:.3f}  Cllr {cost}  "
            f"{found['targets']} targets, {found['impostors']} impostors"
        )
    if json_path:
        of_lists = {"lists": results} if len(read) > 1 else {"list": read[0].name, **found}
        document = {"system": loaded.name, "version": loaded.version,
                    "condition": condition.name, **of_lists}  # fmt: skip
        write_json(json_path, document)
    if det:
        draw_det(curves, f"{system}, {condition.name}", det)
    return 0
