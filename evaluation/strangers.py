"""Searches by strangers in galleries of many sizes: the fit of `StrangerModel`, and its judge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from evaluation.bootstrap import draw, interval
from evaluation.conditions import Condition
from evaluation.heard import LEAST_S, Dev, Index, Scored
from utils.calibration import Floats, StrangerModel

SEED = 2026
SETS = ("cv_cross", "ls_halves", "so_cross", "zh_cross", "mixed")
SIZES = (10, 30, 100)
DRAWS = {10: 40, 30: 20, 100: 10}
LARGEST_DRAWS = 10
LARGEST_SHARE = 0.8  # of a set's speakers; the others are the strangers
SHARES = np.array([0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001])  # of strangers, that are fitted
QUANTILE = 0.85
PRIOR_SPEAKERS = 4.0
TOO_MANY = 4.0  # how much worse it is to name more strangers than asked than to name fewer
ASKED = (0.05, 0.01, 0.001)
BOOTSTRAP = 1_000


@dataclass(frozen=True)
class Search:
    """All searches of one gallery: strangers, and enrolled speakers by another recording."""

    source: str
    speakers: int
    best: Floats  # (each speaker's best score with another one)
    strangers: Index  # recordings
    mated: Index
    nearest: Floats  # (strangers,) best score
    nearest_cosine: Floats
    own: Floats  # (mated,) score of the nearest, where it is the right one; else -inf
    own_cosine: Floats


def make_searches(scored: Scored, probe: str) -> list[Search]:
    """Galleries of several sizes out of every set and of all sets together."""
    return [
        _search(scored, probe, source, gallery, strangers)
        for source, gallery, strangers in _galleries(scored.dev)
    ]


def _galleries(dev: Dev) -> Iterator[tuple[str, Index, Index]]:
    """Set, enrolled recordings (one a speaker), and the other speakers of the set."""
    rng = np.random.default_rng(SEED)
    whole = dev.heard[Condition().name].seconds
    first = {
        int(speaker): place for place, speaker in reversed(list(enumerate(dev.speaker)))
        if whole[place] >= LEAST_S
    }  # fmt: skip
    for source in SETS:
        inside = source == "mixed" or dev.source == source
        speakers = np.unique(dev.speaker[np.broadcast_to(inside, dev.speaker.shape)])
        speakers = np.array([each for each in speakers.tolist() if each in first])
        largest = round(LARGEST_SHARE * len(speakers))
        sizes = [size for size in SIZES if size < largest]
        for size in (*sizes, largest):
            for _ in range(DRAWS.get(size, LARGEST_DRAWS)):
                chosen = np.sort(rng.choice(speakers, size, replace=False))
                gallery = np.array([first[int(each)] for each in chosen])
                yield source, gallery, np.setdiff1d(speakers, chosen)


def _search(
    scored: Scored, probe: str, source: str, gallery: Index, stranger_speakers: Index
) -> Search:
    dev, whole = scored.dev, Condition().name
    is_heard = dev.heard[probe].seconds >= LEAST_S
    strangers = np.flatnonzero(is_heard & np.isin(dev.speaker, stranger_speakers))
    mated = np.setdiff1d(
        np.flatnonzero(is_heard & np.isin(dev.speaker, dev.speaker[gallery])), gallery
    )
    among = scored(whole, gallery, whole, gallery)
    np.fill_diagonal(among, -np.inf)
    of_strangers = scored.cosines(probe, strangers, whole, gallery)
    of_mated = scored.cosines(probe, mated, whole, gallery)
    # as the server: the nearest by cosine is the one that is judged
    judged = scored(probe, strangers, whole, gallery)[
        np.arange(strangers.size), of_strangers.argmax(axis=1)
    ]
    answered = of_mated.argmax(axis=1)
    right = dev.speaker[gallery][answered] == dev.speaker[mated]
    own = scored(probe, mated, whole, gallery)[np.arange(mated.size), answered]
    return Search(
        source,
        gallery.size,
        among.max(axis=1),
        strangers,
        mated,
        judged,
        of_strangers.max(axis=1),
        np.where(right, own, -np.inf),
        np.where(right, of_mated.max(axis=1), -np.inf),
    )


def fit_strangers(searches: Sequence[Search], dev: Dev, half: bool | None = None) -> StrangerModel:
    """The curve of `StrangerModel` through the quantiles of every set and size.

    Args:
        half: only strangers of this half of the speakers; None for all.
    """
    cells: dict[tuple[str, int], list[Search]] = {}
    for search in searches:
        cells.setdefault((search.source, search.speakers), []).append(search)
    sizes = np.log([size for _, size in cells])
    typical = [np.mean([np.quantile(s.best, QUANTILE) for s in each]) for each in cells.values()]
    growth, start = np.polyfit(sizes, typical, 1)
    model = StrangerModel(
        (0.0, 1.0, 0.0), 1.0, QUANTILE, float(start), float(growth), PRIOR_SPEAKERS
    )
    reached = []
    for each in cells.values():
        scores = [s.nearest[_of_half(s.strangers, dev, half)] - model.level(s.best) for s in each]
        reached.append(np.quantile(np.concatenate(scores), 1.0 - SHARES))
    variate = -np.log(-np.log1p(-SHARES))

    def error(numbers: Floats) -> float:
        g = variate + numbers[3] * sizes[:, None]
        wanted = numbers[0] + numbers[1] * g + numbers[2] * g * g
        over = np.array(reached) - wanted
        return float(np.mean(np.where(over > 0.0, TOO_MANY, 1.0) * over**2))

    options = {"maxiter": 10_000, "maxfev": 10_000, "xatol": 1e-6, "fatol": 1e-9}
    numbers = minimize(error, [0.0, 0.6, 0.0, 0.8], method="Nelder-Mead", options=options).x
    curve = (float(numbers[0]), float(numbers[1]), float(numbers[2]))
    return replace(model, curve=curve, growth=float(numbers[3]))


def _of_half(places: Index, dev: Dev, half: bool | None) -> npt.NDArray[np.bool_]:
    return np.ones(places.size, np.bool_) if half is None else dev.half[places] == half


def fpir_table(searches: Sequence[Search], dev: Dev) -> list[dict[str, Any]]:
    """FPIR asked for against FPIR obtained, and FNIR there, for every set and size.

    Beside it one cosine for all, the one that all sets together have their equal error rate at:
    the way a threshold is usually set.
    """
    models = {half: fit_strangers(searches, dev, not half) for half in (False, True)}
    fixed = _usual_threshold(searches)
    rows = []
    for source, size in dict.fromkeys((s.source, s.speakers) for s in searches):
        each = [s for s in searches if (s.source, s.speakers) == (source, size)]
        row: dict[str, Any] = {"set": source, "speakers": size, "asked": []}
        speakers = [dev.speaker[s.strangers] for s in each]
        for asked in ASKED:
            named, missed = [], []
            for s in each:
                cuts = [models[half].threshold(asked, size) + models[half].level(s.best)
                        for half in (False, True)]  # fmt: skip
                named.append(s.nearest >= np.where(dev.half[s.strangers], cuts[1], cuts[0]))
                missed.append(s.own < np.where(dev.half[s.mated], cuts[1], cuts[0]))
            row["asked"].append(
                {
                    "fpir": asked,
                    "obtained": float(np.concatenate(named).mean()),
                    "interval": _interval(named, speakers),
                    "fnir": float(np.concatenate(missed).mean()) if sum(map(len, missed)) else None,
                }
            )
        row["searches"] = sum(map(len, speakers))
        row["strangers"] = int(np.unique(np.concatenate(speakers)).size)
        cosine = np.concatenate([s.nearest_cosine for s in each])
        own = np.concatenate([s.own_cosine for s in each])
        row["fixed"] = {
            "cosine": fixed,
            "obtained": float(np.mean(cosine >= fixed)),
            "fnir": float(np.mean(own < fixed)) if own.size else None,
        }
        rows.append(row)
    return rows


def _usual_threshold(searches: Sequence[Search]) -> float:
    """The cosine with as many misses as false alarms, one comparison each, over the sets' own."""
    ten = [s for s in searches if s.speakers == 10 and s.source != "mixed"]
    own = np.concatenate([s.own_cosine[np.isfinite(s.own_cosine)] for s in ten])
    others = np.concatenate([s.nearest_cosine for s in ten])
    cuts = np.linspace(-1.0, 1.0, 2_001)
    alarms = 1.0 - (1.0 - np.array([np.mean(others >= cut) for cut in cuts])) ** 0.1
    misses = np.array([np.mean(own < cut) for cut in cuts])
    return float(cuts[np.argmin(np.abs(alarms - misses))])


def _interval(happened: Sequence[npt.NDArray[np.bool_]], speakers: Sequence[Index]) -> list[float]:
    """95 %, over the galleries that were drawn and over the strangers who asked them."""
    names = np.unique(np.concatenate(speakers))
    hits, all_ = np.zeros((2, len(happened), names.size))
    for row, (each, who) in enumerate(zip(happened, speakers, strict=True)):
        np.add.at(hits[row], np.searchsorted(names, who), each)
        np.add.at(all_[row], np.searchsorted(names, who), 1.0)
    rng = np.random.default_rng(SEED)
    galleries, strangers = (draw(n, BOOTSTRAP, rng) for n in hits.shape)
    heard = np.einsum("bg,gs,bs->b", galleries, all_, strangers)
    rates = np.einsum("bg,gs,bs->b", galleries, hits, strangers) / np.maximum(heard, 1.0)
    low, high = interval(rates[heard > 0.0])
    if hits.sum() == 0.0:  # nobody was named: the rule of three, over speakers
        high = 1.0 - 0.05 ** (1.0 / names.size)
    return [low, high]
