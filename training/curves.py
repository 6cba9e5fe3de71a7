"""A run's losses and dev EERs over its steps, as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # before pyplot: there may be no screen
import matplotlib.pyplot as plt


def draw_curves(run: Path, picture: Path) -> None:
    """Draws `log.tsv` and, where the run looked at dev lists, `dev.tsv` of a run's folder."""
    tables = [run / "log.tsv", run / "dev.tsv"]
    tables = [table for table in tables if table.exists()]
    figure, axes = plt.subplots(
        1, len(tables), figsize=(5.0 * len(tables), 3.6), layout="constrained", squeeze=False
    )
    for table, plot in zip(tables, axes[0], strict=True):
        columns = _columns(table)
        steps = columns.pop("step")
        columns.pop("seconds", None)
        percent = 100.0 if table.name == "dev.tsv" else 1.0
        for name, values in columns.items():
            plot.plot(steps, percent * values, label=name)
        plot.set(xlabel="step", ylabel="EER, %, middle 2 s" if percent > 1.0 else "loss")
        plot.set_ylim(bottom=0.0)
        plot.grid(alpha=0.3)
        plot.legend(fontsize="small")
    figure.suptitle(f"run {run.name}")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=100)
    plt.close(figure)


def _columns(table: Path) -> dict[str, np.ndarray]:
    head, *lines = table.read_text().splitlines()
    rows = np.array([line.split("\t") for line in lines], np.float64)
    return dict(zip(head.split("\t"), rows.T, strict=True))
