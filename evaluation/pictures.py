"""Figures as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from scipy.special import ndtri

from evaluation.metrics import Scores, error_rates

mpl.use("Agg")  # before pyplot: there may be no screen

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def draw_confusion(confusion: dict[str, dict[str, int]], title: str, path: Path) -> None:
    """Writes the confusion table as a PNG: true speakers down, answers across."""
    speakers = list(confusion)
    counts = np.array([[row[each] for each in speakers] for row in confusion.values()])
    figure, axes = plt.subplots(figsize=(6.4, 5.2), layout="constrained")
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if count > counts.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    short = [speaker.partition("@")[0] for speaker in speakers]
    axes.set_xticks(range(len(speakers)), short)
    axes.set_yticks(range(len(speakers)), short)
    axes.set(xlabel="answered", ylabel="true speaker", title=title)
    _save(figure, path)


def draw_scores(target: Scores, impostor: Scores, threshold: float, path: Path) -> None:
    """Writes how two kinds of trials score, with the threshold, as a PNG."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    bins = np.linspace(min(impostor.min(), target.min()), max(target.max(), threshold), 50).tolist()
    for scores, name in ((impostor, "two voices"), (target, "one voice")):
        axes.hist(scores, bins=bins, density=True, alpha=0.6, label=name)
    axes.axvline(threshold, color="black", linestyle="--", label="threshold")
    axes.set(xlabel="score (AS-norm)", ylabel="density")
    axes.legend()
    _save(figure, path)


Curves = Mapping[str, tuple[Scores, Scores]]
"""False-alarm and miss rates by the name in the legend; for identification FPIR and FNIR."""


def det_curve(target: Scores, impostor: Scores) -> tuple[Scores, Scores]:
    """False-alarm and miss rates at every threshold."""
    _, misses, false_alarms = error_rates(target, impostor)
    return false_alarms, misses


def draw_det(curves: Curves, title: str, path: Path, *, open_set: bool = False) -> None:
    """Writes detection error trade-off curves as a PNG.

    Args:
        open_set: the curves are of identification, and the axes are named so.
    """
    draw_dets({title: curves}, path, open_set=open_set)


def draw_dets(plots: Mapping[str, Curves], path: Path, *, open_set: bool = False) -> None:
    """Writes a plot of curves for each title as one PNG, two in a row."""
    columns = min(2, len(plots))
    rows = math.ceil(len(plots) / columns)
    figure = plt.figure(figsize=(5.2 * columns, 4.8 * rows), layout="constrained")
    for number, (title, curves) in enumerate(plots.items(), 1):
        axes = figure.add_subplot(rows, columns, number)
        _plot_det(axes, curves, title, open_set)
    figure.axes[0].legend(fontsize="small", loc="lower left")
    _save(figure, path)


def _plot_det(axes: Axes, curves: Curves, title: str, open_set: bool) -> None:
    """Draws curves into axes, both in normal deviates (DET; Martin et al. 1997)."""
    most = 0.98 if open_set else 0.5
    for name, (false_alarms, misses) in curves.items():
        inside = (misses > 0) & (misses < 1) & (false_alarms > 0) & (false_alarms < 1)
        axes.plot(ndtri(false_alarms[inside]), ndtri(misses[inside]), label=name, linewidth=1.2)
    ticks = np.array([0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95])
    labels = [f"{100 * tick:g}" for tick in ticks]
    axes.set_xticks(ndtri(ticks), labels)
    axes.set_yticks(ndtri(ticks), labels)
    axes.set(xlim=ndtri([5e-4, 0.5]), ylim=ndtri([5e-4, most]))
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("FPIR, strangers named, %" if open_set else "false alarms, %")
    axes.set_ylabel("FNIR, enrolled missed, %" if open_set else "misses, %")
    axes.grid(alpha=0.3)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
