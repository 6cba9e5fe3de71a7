"""The last step of training: directions in which one voice varies count less.

Within-class covariance normalisation (WCCN; Hatch, Kajarekar and Stolcke 2006), fitted on degraded
windows of the training speakers and folded into the network's last dense layer, so that the
embedding stays one network's output and is compared by cosine as before.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
from tqdm import tqdm

from training.batches import Batch, BatchMaker
from training.corpus import NEAR_DEV_SPEAKERS
from training.covariances import inverse_root, within_covariance
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

    Args:
        rows: (n, d) embeddings before they are made unit length.
        labels: (n,) speakers.

    Returns:
        (d,) mean and (d, d) symmetric transform to multiply rows with.
    """
    transform = inverse_root(within_covariance(rows, labels, shrinkage))
    return rows.mean(axis=0).astype(np.float32), transform.astype(np.float32)


def refit_head(model: keras.Model, batches: Iterable[Batch], ridge: float = 0.1) -> None:
    """Fits the layer `embedding` to other targets than it was trained for, by ridge regression.

    Args:
        ridge: of the mean variance of what the layer hears.
    """
    layer = model.get_layer("embedding")
    before = keras.Model(model.input, layer.input)
    pairs = [
        (before.predict_on_batch(inputs.astype(np.float32)), wanted["unit"])
        for inputs, wanted in batches
    ]
    heard, unit = (np.concatenate(each).astype(np.float64) for each in zip(*pairs, strict=True))
    mean, offset = heard.mean(axis=0), unit.mean(axis=0)
    spread = np.cov(heard.T, bias=True)
    spread += ridge * np.trace(spread) / len(spread) * np.eye(len(spread))
    kernel = np.linalg.solve(spread, (heard - mean).T @ (unit - offset) / len(heard))
    layer.set_weights([kernel, offset - mean @ kernel])
