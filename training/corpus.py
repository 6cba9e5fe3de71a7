"""The training speech, decoded once into one file of samples that every worker maps.

The speech folder is laid out as `train.tsv` with its zip shards, `train-campplus.npz` (the
teacher's embeddings), `noise.tsv` with its shard, and `rooms.npz`.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

TAUGHT = "teacher-campplus-x"
TAUGHT_WINDOWS = "teacher-campplus-windows"
DEV_SPEAKERS = Path(__file__).parent / "dev_speakers.txt"
NEAR_DEV_SPEAKERS = frozenset(
    # read by another ID's voice of the dev lists, as far as the teacher can tell (cosine 0.75 on)
    ("ls8226", "cvef02fb7fe0eacb6b0dee3179", "cvf7eb314277a5e4f9111d0b76", "so0001")
)
EFFECTS = (  # responses of rooms.npz that no room has
    "backslap", "backwards", "comb-saw", "cosmic-ping", "feedback-spring", "filter-hipass",
    "filter-lopass", "filter-rhythm", "spatialized5",
)  # fmt: skip
SIMULATED_ROOMS = "simulated-rooms.npy"  # `python -m training rooms` makes it


@dataclass(frozen=True)
class Recordings:
    """Many recordings in one array."""

    samples: np.ndarray  # (all samples,) int16, 16 kHz mono
    starts: np.ndarray  # (recordings + 1,) where each starts; the last is where all end
    names: np.ndarray  # (recordings,) file names as in the manifest
    labels: np.ndarray  # (recordings,) speaker, or kind of noise

    def __len__(self) -> int:
        return len(self.names)

    def wave(self, index: int, start: int = 0, samples: int | None = None) -> np.ndarray:
        """(samples,) float32 in [-1, 1]: a recording, or the part of it asked for."""
        first, end = int(self.starts[index]) + start, int(self.starts[index + 1])
        if samples is not None:
            end = min(end, first + samples)
        return self.samples[first:end].astype(np.float32) / 32768.0

    def length(self, index: int) -> int:
        return int(self.starts[index + 1] - self.starts[index])


@dataclass(frozen=True)
class Corpus:
    speech: Recordings
    noise: Recordings
    rooms: list[np.ndarray]  # impulse responses, (samples,) float32, direct sound first
    teacher: np.ndarray  # (speech recordings, 192) float32, rows of length 1
    domains: np.ndarray  # (speech recordings,) source and language
    teacher_at: dict[float, np.ndarray] = field(default_factory=dict)  # the same, at other speeds
    windows: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    """Windows (n,) of `windows.WINDOW` and what the teacher says of each, (n, 192) float32."""


def load_corpus(speech: Path, cache: Path) -> Corpus:
    """Opens the corpus; decodes it into `cache` on the first call (2.5 GB, some minutes).

    Raises:
        ValueError: teacher and manifest do not fit together, or somebody is heard in training
            who may not be.
    """
    check_speakers(speech)
    with np.load(speech / "train-campplus.npz") as teacher:
        embeddings, files = teacher["embeddings"].astype(np.float32), teacher["files"]
    rows = read_manifest(speech / "train.tsv")
    voices = _cached(speech, rows, cache / "train.int16", label="speaker")
    if not np.array_equal(voices.names, files):
        raise ValueError("train-campplus.npz and train.tsv do not list the same files in order")
    with np.load(speech / "rooms.npz") as responses:
        rooms = [
            _from_direct_sound(responses[name])
            for name in sorted(responses)
            if not any(effect in name for effect in EFFECTS)
        ]
    if (cache / SIMULATED_ROOMS).exists():
        rooms += [_from_direct_sound(response) for response in np.load(cache / SIMULATED_ROOMS)]
    noises = read_manifest(speech / "noise.tsv")
    noise = _cached(speech, noises, cache / "noise.int16", label="source")
    at = {speed_of(path): np.load(path).astype(np.float32) for path in _taught(cache)}
    windows = [_windows(path) for path in sorted(cache.glob(f"{TAUGHT_WINDOWS}*.npz"))]
    domains = np.array([f"{row['source']} {row['language']}" for row in rows])
    return Corpus(voices, noise, rooms, embeddings, domains, teacher_at=at, windows=windows)


def taught_path(cache: Path, speed: float) -> Path:
    """Where `python -m training teach` keeps what the teacher says of a speed."""
    return cache / f"{TAUGHT}{speed:g}.npy"


def taught_windows_path(cache: Path, seed: int) -> Path:
    """Where it keeps the windows drawn from this seed, and what the teacher says of them."""
    return cache / f"{TAUGHT_WINDOWS}{seed}.npz"


def _windows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as saved:
        return saved["windows"], saved["embeddings"].astype(np.float32)


def speed_of(path: Path) -> float:
    return float(path.stem.removeprefix(TAUGHT))


def _taught(cache: Path) -> list[Path]:
    """The speeds that `teach` is done with, not the one that it is at."""
    return sorted(cache.glob(f"{TAUGHT}*.npy"))


def check_speakers(speech: Path) -> None:
    """Training hears no speaker of the dev lists and no voice of the sample set.

    A sample voice is known by where it is from: the Asterisk prompts of Debian's packages.

    Raises:
        ValueError: somebody is heard in training who may not be.
    """
    rows = read_manifest(speech / "train.tsv")
    dev = set(DEV_SPEAKERS.read_text().split())  # known where the dev recordings are not at hand
    if (speech / "dev.tsv").exists():
        dev |= {row["speaker"] for row in read_manifest(speech / "dev.tsv")}
    shared = sorted(dev & {row["speaker"] for row in rows})
    if shared:
        raise ValueError(f"{len(shared)} speakers are in train.tsv and dev.tsv: {shared[:3]}")
    sample = [row["file"] for row in rows if "asterisk" in " ".join(row.values()).lower()]
    if sample:
        raise ValueError(f"train.tsv has voices of the sample set: {sample[:3]}")


def _from_direct_sound(response: np.ndarray) -> np.ndarray:
    """Cuts what lies before the loudest sample, so that a room does not delay the voice."""
    response = response.astype(np.float32)
    response = response[int(np.argmax(np.abs(response))) :]
    return response / np.linalg.norm(response)


def read_manifest(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _cached(speech: Path, rows: list[dict[str, str]], samples_path: Path, label: str) -> Recordings:
    starts_path = samples_path.with_suffix(".starts.npy")
    if not starts_path.exists():
        samples_path.parent.mkdir(parents=True, exist_ok=True)
        _decode_all(speech, rows, samples_path, starts_path)
    return Recordings(
        samples=np.memmap(samples_path, np.int16, mode="r"),
        starts=np.load(starts_path),
        names=np.array([row["file"] for row in rows]),
        labels=np.array([row[label] for row in rows]),
    )


def _decode_all(
    speech: Path, rows: list[dict[str, str]], samples_path: Path, starts_path: Path
) -> None:
    starts = [0]
    jobs = [(row["shard"], row["file"]) for row in rows]
    with samples_path.open("wb") as file, get_context("spawn").Pool() as pool:
        decoded = pool.imap(partial(_decode_member, speech), jobs, chunksize=32)
        for samples in tqdm(decoded, total=len(jobs), desc=f"decode {samples_path.stem}"):
            file.write(samples.tobytes())
            starts.append(starts[-1] + samples.size)
    np.save(starts_path, np.array(starts))  # last: its presence says that the cache is whole


def _decode_member(speech: Path, job: tuple[str, str]) -> np.ndarray:
    shard, member = job
    with zipfile.ZipFile(speech / shard) as archive:
        wave = decode_recording(archive.read(member))
    return np.clip(np.round(wave * 32768.0), -32768, 32767).astype(np.int16)


def decode_recording(content: bytes) -> np.ndarray:
    """As the server decodes; where PyAV is not installed, 16 kHz mono by libsndfile."""
    if importlib.util.find_spec("av"):
        from utils.audio import decode

        return decode(content)
    import soundfile

    wave, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    if rate != 16_000 or wave.ndim != 1:
        raise ValueError(f"without PyAV only 16 kHz mono can be read, not {rate} Hz, {wave.shape}")
    return wave
