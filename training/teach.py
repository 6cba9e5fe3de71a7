"""What the teacher says of sound that no corpus has, made once and kept beside the corpus cache.

Recordings played faster or slower: a voice at another speed is another voice (speed perturbation
with new labels, as in Yamamoto et al. 2019). And single windows, some with a second voice in them:
the student then hears what the teacher heard, as often as wanted a new one (consistent teaching;
Beyer et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.systems import Peer
from evaluation.teachers import load_teachers
from training.corpus import Recordings, load_corpus, taught_path, taught_windows_path
from training.degrade import change_speed
from training.windows import cut, draw_windows
from utils.features import FeatureSettings

TEACHER = "campplus"
SIZE = 192  # of its embeddings
LONGEST = 30 * 16_000  # samples; of a longer recording the first so many
BLOCK = 16  # recordings or windows that a process is handed at once
WINDOW_SAMPLES = FeatureSettings().window_samples


def teach_speed(speech: Path, cache: Path, speed: float, processes: int) -> Path:
    """Embeds every recording at this speed; one that was stopped goes on where it was.

    Returns:
        A file of float16 (recordings, 192), rows of length 1, in the corpus' order.
    """
    path = taught_path(cache, speed)
    if not path.exists():
        count = len(load_corpus(speech, cache).speech)
        embed = partial(_embed_recordings, speech, cache, speed)
        _ask(speech, count, embed, path.with_name(f"partial-{path.name}"), processes).replace(path)
    return path


def teach_windows(speech: Path, cache: Path, seed: int, processes: int) -> Path:
    """Embeds the windows drawn from this seed; one that was stopped goes on where it was.

    Returns:
        A file of `windows`, (n,) of `windows.WINDOW`, and `embeddings`, float16 (n, 192).
    """
    path = taught_windows_path(cache, seed)
    if not path.exists():
        windows = draw_windows(load_corpus(speech, cache).speech, WINDOW_SAMPLES, seed)
        embed = partial(_embed_windows, speech, cache, seed)
        asked = cache / f"partial-{path.stem}.npy"
        _ask(speech, len(windows), embed, asked, processes)
        whole = path.with_name(f"partial-{path.name}")
        np.savez(whole, windows=windows, embeddings=np.load(asked))
        whole.replace(path)
        asked.unlink()
    return path


def teach_device(speech: Path, cache: Path) -> Path:
    """Writes the teacher's weights as a run on a GPU reads them, which asks it as it goes."""
    from training.device_teacher import write_weights  # needs JAX

    return write_weights(_fetch(speech), cache)


def _fetch(speech: Path) -> Path:
    teachers = load_teachers(speech)
    if teachers is None:
        raise SystemExit(f"{speech / 'teachers.py'} is missing: it runs the teacher")
    try:
        path: Path = teachers.fetch(TEACHER)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name} is missing, which `teachers.py` needs once to write an ONNX file: "
            f"`pip install {error.name}` here, or run `teachers.py fetch {TEACHER}` where it is"
        ) from None
    return path


def _ask(
    speech: Path,
    count: int,
    embed: Callable[[np.ndarray], np.ndarray],
    path: Path,
    processes: int,
) -> Path:
    """Fills the file with what `embed` says of 0 to `count`, in blocks, what is missing of it."""
    _fetch(speech)  # once, before the processes ask for it
    if not path.exists():
        np.lib.format.open_memmap(path, "w+", np.float16, (count, SIZE))[:] = np.nan
    rows = np.lib.format.open_memmap(path, "r+")
    missing = np.flatnonzero(np.isnan(rows[:, 0]))
    blocks = [missing[first : first + BLOCK] for first in range(0, len(missing), BLOCK)]
    with (
        get_context("spawn").Pool(processes) as pool,
        tqdm(total=count, initial=count - len(missing), desc=path.stem) as bar,
    ):
        for indices, embeddings in pool.imap_unordered(partial(_with_indices, embed), blocks):
            rows[indices] = embeddings
            bar.update(len(indices))
    rows.flush()
    return path


def _with_indices(
    embed: Callable[[np.ndarray], np.ndarray], indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return indices, embed(indices)


def _embed_recordings(speech: Path, cache: Path, speed: float, indices: np.ndarray) -> np.ndarray:
    recordings, teacher = _recordings(speech, cache), _teacher(speech)
    waves = (recordings.wave(int(index), samples=round(LONGEST * speed)) for index in indices)
    return np.stack([teacher.embed(change_speed(wave, speed)) for wave in waves])


def _embed_windows(speech: Path, cache: Path, seed: int, indices: np.ndarray) -> np.ndarray:
    recordings, teacher = _recordings(speech, cache), _teacher(speech)
    windows = _windows(speech, cache, seed)
    waves = (cut(recordings, windows[index], WINDOW_SAMPLES) for index in indices)
    return np.stack([teacher.embed(wave) for wave in waves])


@lru_cache(maxsize=1)
def _recordings(speech: Path, cache: Path) -> Recordings:
    return load_corpus(speech, cache).speech


@lru_cache(maxsize=1)
def _windows(speech: Path, cache: Path, seed: int) -> np.ndarray:
    return draw_windows(_recordings(speech, cache), WINDOW_SAMPLES, seed)


@lru_cache(maxsize=1)
def _teacher(speech: Path) -> Peer:
    return Peer(TEACHER, load_teachers(speech))
