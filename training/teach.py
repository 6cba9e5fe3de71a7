"""What the teacher says of the training recordings played faster or slower.

A voice at another speed is another voice (speed perturbation with new labels, as in Yamamoto et
al. 2019), so its target is what the teacher hears in it: made once by `python -m training teach`,
kept beside the corpus cache.
"""

from __future__ import annotations

from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.systems import Peer
from evaluation.teachers import load_teachers
from training.corpus import load_corpus, taught_path
from training.degrade import change_speed

TEACHER = "campplus"
LONGEST = 30 * 16_000  # samples; of a longer recording the first so many
BLOCK = 16  # recordings that a process is handed at once


def teach(speech: Path, cache: Path, speed: float, processes: int) -> Path:
    """Embeds every recording at this speed; a run that was stopped goes on where it was.

    Returns:
        A file of float16 (recordings, 192), rows of length 1, in the corpus' order.
    """
    teachers = load_teachers(speech)
    if teachers is None:
        raise SystemExit(f"{speech / 'teachers.py'} is missing: it runs the teacher")
    teachers.fetch(TEACHER)  # once, before the processes ask for it
    n_recordings = len(load_corpus(speech, cache).speech)
    path = taught_path(cache, speed)
    partial = cache / f"partial-{path.name}"
    if path.exists():
        return path
    if not partial.exists():
        dimension = teachers.NETWORKS[TEACHER].dimension
        fresh = np.lib.format.open_memmap(partial, "w+", np.float16, (n_recordings, dimension))
        fresh[:] = np.nan
    rows = np.lib.format.open_memmap(partial, "r+")
    missing = np.flatnonzero(np.isnan(rows[:, 0]))
    jobs = [
        (speech, cache, speed, missing[first : first + BLOCK])
        for first in range(0, len(missing), BLOCK)
    ]
    with (
        get_context("spawn").Pool(processes) as pool,
        tqdm(total=n_recordings, initial=n_recordings - len(missing), unit="recording") as bar,
    ):
        for indices, embeddings in pool.imap_unordered(_embed, jobs):
            rows[indices] = embeddings
            bar.update(len(indices))
    rows.flush()
    return partial.replace(path)


def _embed(job: tuple[Path, Path, float, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    speech, cache, speed, indices = job
    recordings = load_corpus(speech, cache).speech
    teacher = _teacher(speech)
    waves = (recordings.wave(int(index), samples=round(LONGEST * speed)) for index in indices)
    return indices, np.stack([teacher.embed(change_speed(wave, speed)) for wave in waves])


@lru_cache(maxsize=1)
def _teacher(speech: Path) -> Peer:
    return Peer(TEACHER, load_teachers(speech))
