"""Figures as pictures."""

from __future__ import annotations

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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def draw_det(curves: Mapping[str, tuple[Scores, Scores]], title: str, path: Path) -> None:
    """Writes detection error trade-off curves as a PNG, both axes in normal deviates.

    Args:
        curves: target and impostor scores by the name in the legend.
    """
    figure, axes = plt.subplots(figsize=(5.6, 5.2), layout="constrained")
    plot_det(axes, curves, title)
    axes.legend(fontsize="small")
    save(figure, path)


def plot_det(axes: Axes, curves: Mapping[str, tuple[Scores, Scores]], title: str) -> None:
    """Draws the curves into axes (DET; Martin et al. 1997)."""
    for name, (target, impostor) in curves.items():
        _, misses, false_alarms = error_rates(target, impostor)
        inside = (misses > 0) & (misses < 1) & (false_alarms > 0) & (false_alarms < 1)
        axes.plot(ndtri(false_alarms[inside]), ndtri(misses[inside]), label=name, linewidth=1.2)
    ticks = np.array([0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4])
    labels = [f"{100 * tick:g}" for tick in ticks]
    axes.set_xticks(ndtri(ticks), labels)
    axes.set_yticks(ndtri(ticks), labels)
    axes.set(xlim=ndtri([5e-4, 0.5]), ylim=ndtri([5e-4, 0.5]))
    axes.set_title(title, fontsize="medium")
    axes.set(xlabel="false alarms, %", ylabel="misses, %")
    axes.grid(alpha=0.3)


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
