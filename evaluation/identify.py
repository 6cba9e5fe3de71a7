"""Identification: one recording of each speaker is enrolled, the others ask who they are.

Speakers with one recording only are strangers: nobody may be named for them.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.audio import Audio
from evaluation.bootstrap import draw, interval
from evaluation.conditions import Condition
from evaluation.embeddings import embed_all
from evaluation.files import read_text, write_json
from evaluation.metrics import Scores
from evaluation.open_set import fnir_at_fpir, ranks, weighted_share
from evaluation.pictures import draw_det
from evaluation.systems import System, load_system

SEED = 2026  # of the galleries that are drawn
DRAWS = 20  # galleries of each size short of all
SIZES = (10, 100)
FPIRS = {"fnir_at_fpir_1": 0.01, "fnir_at_fpir_01": 0.001}
BOOTSTRAP = 200  # draws, of 20 galleries each


@dataclass(frozen=True)
class Plan:
    """Who is enrolled by what, who asks, and who is a stranger."""

    enrolled: list[str]  # recordings, one a speaker
    probes: list[str]
    own: npt.NDArray[np.intp]  # (probes,) the place of each one's speaker in `enrolled`
    strangers: list[str]


def make_plan(manifest: Path, source: str | None = None) -> Plan:
    """Reads a manifest: tab-separated, with the columns `file` and `speaker`.

    Args:
        source: takes only lines that have this in the column `source`.

    Raises:
        SystemExit: there is no such text, a column or a field is missing, or nobody has two
            recordings.
    """
    rows = csv.DictReader(read_text(manifest).splitlines(), delimiter="\t")
    needed = {"file", "speaker"} | (set() if source is None else {"source"})
    if missing := needed - set(rows.fieldnames or ()):
        raise SystemExit(f"{manifest}: no column {', '.join(sorted(missing))} in its first line")
    recordings: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if not (row["file"] and row["speaker"]):
            raise SystemExit(f"{manifest}, line {rows.line_num}: file or speaker is missing")
        if source is None or row["source"] == source:
            recordings[row["speaker"]].append(row["file"])
    known = [sorted(files) for _, files in sorted(recordings.items()) if len(files) > 1]
    if not known:
        raise SystemExit(f"{manifest}: no speaker with two recordings to enrol and to ask with")
    return Plan(
        enrolled=[files[0] for files in known],
        probes=[name for files in known for name in files[1:]],
        own=np.repeat(np.arange(len(known)), [len(files) - 1 for files in known]),
        strangers=sorted(files[0] for files in recordings.values() if len(files) == 1),
    )


def ask(
    plan: Plan, system: System, audio: Audio, condition: Condition, cache: Path | None = None
) -> Scores:
    """(probes + strangers, enrolled) cosines.

    Args:
        cache: as for `embed_all`.
    """
    gallery = embed_all(system, plan.enrolled, audio, condition, as_probe=False, cache=cache)
    asking = plan.probes + plan.strangers
    probes = embed_all(system, asking, audio, condition, as_probe=True, cache=cache)
    scores: Scores = (probes @ gallery.T).astype(np.float64)
    return scores


@dataclass(frozen=True)
class _Search:
    """One gallery: who is in it asks as a mated probe, all others as strangers."""

    mated: npt.NDArray[np.intp]  # rows of the scores
    unmated: npt.NDArray[np.intp]
    of_own: Scores  # (mated,) the score of the own speaker
    places: npt.NDArray[np.intp]  # (mated,) its place, 1 the nearest
    nearest: Scores  # (unmated,) the highest score of anybody

    def fnir(self, fpir: float, weights: Scores) -> Scores:
        """(...) of weights (..., probes + strangers)."""
        return fnir_at_fpir(
            self.of_own, self.places, self.nearest, fpir,
            weights[..., self.mated], weights[..., self.unmated],
        )  # fmt: skip

    def rates(self, weights: Scores) -> dict[str, Scores]:
        """Each (...), of weights (..., probes + strangers)."""
        found = {
            f"rank_{most}": weighted_share(self.places <= most, weights[..., self.mated])
            for most in (1, 5)
        }
        if self.unmated.size:
            found |= {name: self.fnir(fpir, weights) for name, fpir in FPIRS.items()}
        return found


def _searches(scores: Scores, plan: Plan) -> dict[str, list[_Search]]:
    """By size, `all` the last: one search among all, 20 in drawn galleries of each smaller size."""
    n_speakers = len(plan.enrolled)
    rng = np.random.default_rng(SEED)
    drawn = {
        str(size): [np.sort(rng.choice(n_speakers, size, replace=False)) for _ in range(DRAWS)]
        for size in SIZES
        if size < n_speakers
    }
    drawn["all"] = [np.arange(n_speakers)]
    return {
        size: [_search(scores[:, chosen], plan, chosen) for chosen in galleries]
        for size, galleries in drawn.items()
    }


def _search(scores: Scores, plan: Plan, chosen: npt.NDArray[np.intp]) -> _Search:
    """`scores` are all probes' and strangers' to the chosen speakers."""
    mated = np.flatnonzero(np.isin(plan.own, chosen))
    unmated = np.setdiff1d(np.arange(len(scores)), mated)
    own = np.searchsorted(chosen, plan.own[mated])
    return _Search(
        mated, unmated, scores[mated, own], ranks(scores[mated], own), scores[unmated].max(axis=1)
    )


def figures(scores: Scores, plan: Plan) -> dict[str, Any]:
    """Rates of `ask`'s scores over galleries of several sizes.

    Returns:
        For each size, `all` the last: `speakers`; rank_1 and rank_5 of the enrolled probes;
        fnir_at_fpir_1 and fnir_at_fpir_01, the misses where 1 % and 0.1 % of strangers are named;
        each with its 95 % `..._interval`, for which those who ask are drawn again speaker by
        speaker. Means of 20 drawn galleries, whose left-out speakers are strangers too. Then the
        numbers of `probes` and `strangers`.
    """
    who = np.concatenate([plan.own, len(plan.enrolled) + np.arange(len(plan.strangers))])
    times = draw(len(plan.enrolled) + len(plan.strangers), BOOTSTRAP, np.random.default_rng(SEED))
    # the first row is the figure itself
    weights = np.concatenate([np.ones((1, who.size)), times[:, who]])
    found: dict[str, Any] = {}
    for size, searches in _searches(scores, plan).items():
        each = [search.rates(weights) for search in searches]
        n_enrolled = len(plan.enrolled) if size == "all" else int(size)
        found[size] = {"speakers": n_enrolled}
        for name in each[0]:
            means = np.mean([rates[name] for rates in each], axis=0)
            found[size][name] = float(means[0])
            found[size][f"{name}_interval"] = list(interval(means[1:]))
    return {**found, "probes": len(plan.probes), "strangers": len(plan.strangers)}


def det_curves(scores: Scores, plan: Plan) -> dict[str, tuple[Scores, Scores]]:
    """FPIR and FNIR by gallery size, from one stranger named to half of them; none without any."""
    curves = {}
    once = np.ones(len(scores))
    for size, searches in _searches(scores, plan).items():
        fewest = min(search.unmated.size for search in searches)
        if fewest > 1:
            fpirs = np.geomspace(1.0 / fewest, 0.5, 40)
            misses = [[search.fnir(fpir, once) for fpir in fpirs] for search in searches]
            curves[size] = (fpirs, np.mean(misses, axis=0))
    return curves


def run(
    manifest: Path,
    audio_root: Path,
    source: str | None,
    system: str,
    speech: Path,
    condition: Condition,
    json_path: Path | None,
    det: Path | None,
) -> int:
    """`python -m evaluation identify`: prints a line a gallery size."""
    plan, audio = make_plan(manifest, source), Audio(audio_root)
    loaded = load_system(system, speech)
    scores = ask(plan, loaded, audio, condition)
    found = figures(scores, plan)
    print(f"{system}, {condition.name}: {found['probes']} probes, {found['strangers']} strangers")
    print(f"{'speakers':>9}{'rank 1':>9}{'rank 5':>9}{'FNIR, FPIR 1 %':>17}{'FPIR 0.1 %':>13}")
    for rates in found.values():
        if isinstance(rates, dict):
            print(
                f"{rates['speakers']:9}{100 * rates['rank_1']:8.1f}%{100 * rates['rank_5']:8.1f}%"
                f"{100 * rates.get('fnir_at_fpir_1', np.nan):16.1f}%"
                f"{100 * rates.get('fnir_at_fpir_01', np.nan):12.1f}%"
            )
    if json_path:
        document = {"system": loaded.name, "version": loaded.version,
                    "condition": condition.name, **found}  # fmt: skip
        write_json(json_path, document)
    if det:
        curves = {f"{size} speakers": curve for size, curve in det_curves(scores, plan).items()}
        if not curves:
            raise SystemExit(
                f"{manifest}: no DET curve without two strangers, who are not enrolled"
            )
        draw_det(curves, f"{system}, {condition.name}", det, open_set=True)
    return 0
