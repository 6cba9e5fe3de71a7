"""The line from scores to likelihood ratios: trials, the fit, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from evaluation.heard import ENROLLED, PROBES, Scored
from evaluation.likelihood import cllr, min_cllr
from evaluation.metrics import min_dcf
from utils.calibration import Floats, likelihood_ratios, shortness

SEED = 2026
PRIOR = 0.05  # of a target trial, where the line is to be right


@dataclass(frozen=True)
class Trials:
    """Trials of one set under one pair of conditions."""

    score: Floats
    short: Floats
    is_target: npt.NDArray[np.bool_]
    half: npt.NDArray[np.bool_]  # of the enrolled speaker

    def of_half(self, half: bool) -> Trials:
        inside = self.half == half
        return Trials(
            *(each[inside] for each in (self.score, self.short, self.is_target, self.half))
        )


def make_trials(scored: Scored) -> list[Trials]:
    """Within each set: all target trials, and ten times as many impostor trials."""
    dev, rng = scored.dev, np.random.default_rng(SEED)
    found = []
    for source in sorted(set(dev.source.tolist())):
        inside = np.flatnonzero(dev.source == source)
        for enrolled in ENROLLED:
            for probe in PROBES:
                seconds = [dev.heard[each.name].seconds for each in (probe, enrolled)]
                places = [inside[each[inside] > 0.0] for each in seconds]
                scores = scored(probe.name, places[0], enrolled.name, places[1])
                same = dev.speaker[places[0]][:, None] == dev.speaker[places[1]]
                other = places[0][:, None] != places[1]
                target = np.argwhere(same & other)
                impostor = np.argwhere(~same)
                drawn = rng.choice(len(impostor), min(len(impostor), 10 * len(target)), False)
                rows = np.concatenate([target, impostor[drawn]])
                probes, models = places[0][rows[:, 0]], places[1][rows[:, 1]]
                found.append(
                    Trials(
                        scores[rows[:, 0], rows[:, 1]],
                        shortness(seconds[0][probes], seconds[1][models]),
                        np.arange(len(rows)) < len(target),
                        dev.half[models],
                    )
                )
    return found


def fit_llr(trials: Sequence[Trials]) -> tuple[float, float, float, float]:
    """Prior-weighted logistic regression (Bruemmer and du Preez 2006), all sets weighing alike."""
    columns, labels, weights = [], [], []
    for each in trials:
        score, short = each.score, each.short
        columns.append(np.stack([np.ones_like(score), score, short, score * short], axis=1))
        labels.append(each.is_target)
        share = np.where(each.is_target, PRIOR, 1.0 - PRIOR)
        weights.append(
            share / np.where(each.is_target, each.is_target.sum(), (~each.is_target).sum())
        )
    x, label, weight = np.concatenate(columns), np.concatenate(labels), np.concatenate(weights)
    weight /= weight.sum()
    log_odds = np.log(PRIOR / (1.0 - PRIOR))
    sign = np.where(label, 1.0, -1.0)

    def cost(line: Floats) -> tuple[float, Floats]:
        logit = sign * (x @ line + log_odds)
        slope = -weight * sign / (1.0 + np.exp(np.clip(logit, -60.0, 60.0)))
        return float(weight @ np.logaddexp(0.0, -logit)), slope @ x

    start = np.array([-4.0, 1.0, 0.0, 0.0])
    offset, slope, of_short, of_both = minimize(cost, start, jac=True, method="BFGS").x.tolist()
    return offset, slope, of_short, of_both


def llr_quality(trials: Sequence[Trials]) -> dict[str, float]:
    """Costs of ratios whose line was fitted on the other half of the speakers."""
    target, impostor = [], []
    for half in (False, True):
        line = fit_llr([each.of_half(not half) for each in trials])
        for each in (one.of_half(half) for one in trials):
            ratios = likelihood_ratios(line, each.score, each.short)
            target.append(ratios[each.is_target])
            impostor.append(ratios[~each.is_target])
    ratios_of = np.concatenate(target), np.concatenate(impostor)
    found = {"cllr": cllr(*ratios_of), "min_cllr": min_cllr(*ratios_of)}
    for name, prior in (("p01", 0.01), ("p05", 0.05)):
        wanted = np.log((1.0 - prior) / prior)
        misses, alarms = np.mean(ratios_of[0] < wanted), np.mean(ratios_of[1] >= wanted)
        found[f"act_dcf_{name}"] = float(misses + alarms * (1.0 - prior) / prior)
        found[f"min_dcf_{name}"] = min_dcf(*ratios_of, prior)
    return {**found, "targets": ratios_of[0].size, "impostors": ratios_of[1].size}
