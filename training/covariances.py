"""How rows scatter, all together and within a speaker, where a speaker counts as the root of their
recordings: between all speakers alike and all recordings alike.
"""

from __future__ import annotations

import numpy as np


def speaker_weights(labels: np.ndarray) -> np.ndarray:
    """(n,) what each row counts, of speakers (n,); their sum 1."""
    _, speaker, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weights = counts[speaker] ** -0.5
    found: np.ndarray = weights / weights.sum()
    return found


def covariance(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(d, d) covariance of rows (n, d) about their weighted mean."""
    weights = speaker_weights(labels)
    centred = rows - weights @ rows
    found: np.ndarray = (centred * weights[:, None]).T @ centred
    return found


def within_covariance(rows: np.ndarray, labels: np.ndarray, shrinkage: float) -> np.ndarray:
    """(d, d) covariance of rows (n, d) about their speakers' means.

    Speakers of one row say nothing about it.

    Args:
        shrinkage: in [0, 1]; how far it is drawn towards a multiple of the identity.

    Raises:
        ValueError: no speaker has two rows.
    """
    _, speaker, counts = np.unique(labels, return_inverse=True, return_counts=True)
    centroids = np.zeros((len(counts), rows.shape[1]))
    np.add.at(centroids, speaker, rows)
    centroids /= counts[:, None]
    several = counts[speaker] >= 2
    if not several.any():
        raise ValueError("no speaker has two recordings; how they differ cannot be told")
    n = counts[speaker][several]
    differences = (rows - centroids[speaker])[several] * ((n / (n - 1)) ** 0.5 * n**-0.25)[:, None]
    within = differences.T @ differences / np.sum(n**-0.5)
    size = len(within)
    found: np.ndarray = (1.0 - shrinkage) * within + (
        shrinkage * np.trace(within) / size * np.eye(size)
    )
    return found


def inverse_root(matrix: np.ndarray, power: float = 1.0) -> np.ndarray:
    """A symmetric positive matrix to the power of minus half of `power`."""
    values, axes = np.linalg.eigh(matrix)
    found: np.ndarray = (axes * values ** (-0.5 * power)) @ axes.T
    return found
