"""Figures as pictures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt


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
