"""Identification: one recording of each speaker is enrolled, the others ask who they are.

Speakers with one recording only are strangers: nobody may be named for them.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.audio import Audio
from evaluation.conditions import Condition
from evaluation.embeddings import embed_all
from evaluation.metrics import wilson_interval
from evaluation.open_set import fnir_at_fpir, ranks
from evaluation.systems import System, load_system

SEED = 2026  # of the galleries that are drawn
DRAWS = 20  # galleries of each size short of all
SIZES = (10, 100)
FPIRS = (0.01, 0.001)


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
        SystemExit: nobody has two recordings.
    """
    recordings: dict[str, list[str]] = defaultdict(list)
    with manifest.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
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


def evaluate(
    plan: Plan, system: System, audio: Audio, condition: Condition, cache: Path | None = None
) -> dict[str, Any]:
    """Identifies by cosine, over galleries of several sizes.

    Returns:
        For each size, `all` the last: rank_1 and rank_5 of the enrolled probes, and fnir_at_fpir_1
        and fnir_at_fpir_01, the misses where 1 % and 0.1 % of strangers are named; means of 20
        drawn galleries, whose left-out speakers are strangers too. rank_1_interval of `all`.
    """
    gallery = embed_all(system, plan.enrolled, audio, condition, as_probe=False, cache=cache)
    asking = plan.probes + plan.strangers
    probes = embed_all(system, asking, audio, condition, as_probe=True, cache=cache)
    scores = (probes @ gallery.T).astype(np.float64)
    n_speakers = len(plan.enrolled)
    rng = np.random.default_rng(SEED)
    found: dict[str, Any] = {}
    for size in (*(size for size in SIZES if size < n_speakers), n_speakers):
        drawn = [
            np.sort(rng.choice(n_speakers, size, replace=False))
            for _ in range(1 if size == n_speakers else DRAWS)
        ]
        each = [_rates(scores[:, chosen], plan, chosen) for chosen in drawn]
        means = {name: float(np.mean([rates[name] for rates in each])) for name in each[0]}
        found["all" if size == n_speakers else str(size)] = {"speakers": size, **means}
    right = round(found["all"]["rank_1"] * len(plan.probes))
    found["all"]["rank_1_interval"] = list(wilson_interval(right, len(plan.probes)))
    found["probes"], found["strangers"] = len(plan.probes), len(plan.strangers)
    return found


def _rates(
    scores: npt.NDArray[np.float64], plan: Plan, chosen: npt.NDArray[np.intp]
) -> dict[str, float]:
    """Of one gallery: `scores` are all probes' and strangers' to the chosen speakers."""
    mated = np.flatnonzero(np.isin(plan.own, chosen))
    unmated = np.setdiff1d(np.arange(len(scores)), mated)
    own = np.searchsorted(chosen, plan.own[mated])
    places = ranks(scores[mated], own)
    rates = {"rank_1": float(np.mean(places == 1)), "rank_5": float(np.mean(places <= 5))}
    if unmated.size:
        of_own = scores[mated, own]
        strangers = scores[unmated].max(axis=1)
        for fpir, name in zip(FPIRS, ("fnir_at_fpir_1", "fnir_at_fpir_01"), strict=True):
            rates[name] = fnir_at_fpir(of_own, places, strangers, fpir)
    return rates


def run(
    manifest: Path,
    audio_root: Path,
    source: str | None,
    system: str,
    speech: Path,
    condition: Condition,
    json_path: Path | None,
) -> int:
    """`python -m evaluation identify`: prints a line a gallery size."""
    loaded = load_system(system, speech)
    found = evaluate(make_plan(manifest, source), loaded, Audio(audio_root), condition)
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
        json_path.write_text(json.dumps(document, indent=2) + "\n")
    return 0
