"""The last step of training: directions in which one voice varies count less.

Within-class covariance normalisation (WCCN; Hatch, Kajarekar and Stolcke 2006), fitted on degraded
windows of the training speakers and folded into the network's last dense layer, so that the
embedding stays one network's output and is compared by cosine as before.
"""

from __future__ import annotations

import keras
import numpy as np
from tqdm import tqdm

from training.batches import BatchMaker
from training.corpus import NEAR_DEV_SPEAKERS
from training.windows import windows_anywhere
from utils.features import log_mel

BATCH = 64


def fit_head(model: keras.Model, maker: BatchMaker, shrinkage: float) -> None:
    """Changes the weights of the layer `embedding`.

    Args:
        maker: its recordings are embedded once each, degraded from its seed.
        shrinkage: in [0, 1]; how far the covariance is drawn towards a multiple of the identity,
            at which the normalisation does nothing.
    """
    before_unit = keras.Model(model.input, model.get_layer("embedding").output)
    rng = np.random.default_rng(maker.settings.seed)
    labels = maker.corpus.speech.labels
    heard = np.flatnonzero(~np.isin(labels, list(NEAR_DEV_SPEAKERS)))
    windows = windows_anywhere(len(labels), speed=1.0)[heard]
    rows = []
    for first in tqdm(range(0, len(heard), BATCH), desc="embed the training recordings"):
        some = windows[first : first + BATCH]
        waves = np.stack([maker.degraded_window(window, rng) for window in some])
        rows.append(before_unit.predict_on_batch(log_mel(waves, maker.features)))
    mean, transform = wccn(np.concatenate(rows), labels[heard], shrinkage)
    layer = model.get_layer("embedding")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel @ transform, (bias - mean) @ transform])


def wccn(rows: np.ndarray, labels: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows, and what makes the covariance within speakers round.

    A speaker counts as much as all recordings' root, between all speakers alike and all
    recordings alike; speakers of one recording say nothing about it.

    Args:
        rows: (n, d) embeddings before they are made unit length.
        labels: (n,) speakers.

    Returns:
        (d,) mean and (d, d) symmetric transform to multiply rows with.
    """
    _, speaker, counts = np.unique(labels, return_inverse=True, return_counts=True)
    mean = rows.mean(axis=0)
    centroids = np.zeros((len(counts), rows.shape[1]))
    np.add.at(centroids, speaker, rows)
    centroids /= counts[:, None]
    several = counts[speaker] >= 2
    n = counts[speaker][several]
    differences = (rows - centroids[speaker])[several] * ((n / (n - 1)) ** 0.5 * n**-0.25)[:, None]
    within = differences.T @ differences / np.sum(n**-0.5)
    size = len(within)
    within = (1.0 - shrinkage) * within + shrinkage * np.trace(within) / size * np.eye(size)
    variances, axes = np.linalg.eigh(within)
    transform = (axes * variances**-0.5) @ axes.T
    return mean.astype(np.float32), transform.astype(np.float32)
