"""The training speakers' centroids: whom `utils/calibration.py` holds every score against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.corpus import NEAR_DEV_SPEAKERS, load_corpus
from utils.calibration import COHORT
from utils.embedding import load_engine
from utils.features import log_mel_windows
from utils.scoring import centroid

RECORDINGS = 3  # of a speaker, at most


def write_cohort(folder: Path, *, speech: Path, cache: Path) -> Path:
    """Embeds every training speaker with the exported network.

    Returns:
        A file of float16 (speakers, 64), rows of length 1, in the order of the speakers' names.
    """
    engine = load_engine("onnx", folder=folder)
    recordings = load_corpus(speech, cache).speech
    rows = []
    speakers = sorted(set(recordings.labels.tolist()) - NEAR_DEV_SPEAKERS)
    for speaker in tqdm(speakers, desc="embed the cohort", unit="speaker"):
        indices = np.flatnonzero(recordings.labels == speaker)[:RECORDINGS].tolist()
        waves = (recordings.wave(index) for index in indices)
        each = [centroid(engine.embed(log_mel_windows(wave, engine.features))) for wave in waves]
        rows.append(centroid(np.stack(each)))
    path = folder / COHORT
    np.save(path, np.stack(rows).astype(np.float16))
    return path
