"""What training does to a voice, as a picture: one recording of the sample set, degraded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image
from scipy.signal import stft

from training.corpus import Corpus, Recordings, read_manifest
from training.degrade import DegradationSettings, degrade
from utils.audio import SAMPLE_RATE, decode

mpl.use("Agg")  # before pyplot: there may be no screen
import matplotlib.pyplot as plt

VOICE = "ast1@example.org-0.mp4"
NOISES = ("felixchenfy_doing_the_dishes", "manolo_camp-morning_coffee")  # easily seen ones
ROOM = "GoogleChromeLabs_omni-35-10"
SHOWN_S = 3.0
SNR_DB = 5.0
SHOWN_DB = (-80.0, -15.0)  # relative to the loudest of a panel
SEED = 4  # of all chance in the picture
COLOURS = 32  # in the file: spectrograms are noise, which PNG compresses badly

NEVER = replace(
    DegradationSettings(),
    **{each.name: 0.0 for each in fields(DegradationSettings) if each.name.endswith("chance")},
    snr_db=(SNR_DB, SNR_DB),
    clip_share=(0.1, 0.1),
)
PANELS = {
    "as recorded": NEVER,
    f"noise, {SNR_DB:g} dB": replace(NEVER, noise_chance=1.0, noise_kinds=("noise",)),
    f"music, {SNR_DB:g} dB": replace(NEVER, noise_chance=1.0, noise_kinds=("music",)),
    f"babble, {SNR_DB:g} dB": replace(NEVER, noise_chance=1.0, noise_kinds=("babble",)),
    "room": replace(NEVER, room_chance=1.0),
    "clipped, a tenth": replace(NEVER, clip_chance=1.0),
    "telephone band": replace(NEVER, telephone_chance=1.0),
    "codec: MP3": replace(NEVER, codec_chance=1.0, codecs=("mp3",)),
    "codec: AMR, 5.9 kbit/s": replace(NEVER, codec_chance=1.0, codecs=("amr-like",)),
}


def draw_degradations(data: Path, speech: Path, picture: Path) -> None:
    """Writes the picture: what was recorded, and eight degraded copies of it.

    Args:
        data: the sample set, for the voice, and for the babble behind it.
        speech: the corpus folder, for a noise, a song and a room; without it their panels are
            left empty.
    """
    corpus = _small_corpus(data, speech)
    index = int(np.flatnonzero(corpus.speech.names == VOICE)[0])
    speaker = corpus.speech.labels[index]
    wave = corpus.speech.wave(index, samples=round(SHOWN_S * SAMPLE_RATE))
    clips = {
        name: degrade(wave, corpus, settings, np.random.default_rng(SEED), speaker)
        for name, settings in PANELS.items()
        if _is_possible(settings, corpus)
    }
    _draw(clips, picture)


def _small_corpus(data: Path, speech: Path) -> Corpus:
    """The sample voices as speech; of the corpus folder a few sounds alone, so that it is quick."""
    clips = sorted(data.glob("*-0.mp4"))
    voices = [(path.name, path.name.rpartition("-")[0], path.read_bytes()) for path in clips]
    noises, rooms = [], []
    if (speech / "noise.tsv").exists():
        for row in read_manifest(speech / "noise.tsv"):
            if any(name in row["file"] for name in NOISES):
                with zipfile.ZipFile(speech / row["shard"]) as shard:
                    noises.append((row["file"], row["source"], shard.read(row["file"])))
        with np.load(speech / "rooms.npz") as responses:
            response = responses[ROOM].astype(np.float32)
            rooms = [response[np.argmax(np.abs(response)) :]]
    nothing = np.zeros((len(voices), 0), np.float32)
    return Corpus(_decoded(voices), _decoded(noises), rooms, teacher=nothing)


def _decoded(sounds: Iterable[tuple[str, str, bytes]]) -> Recordings:
    """Of names, labels and files' contents."""
    names, labels, contents = zip(*sounds, strict=True) if sounds else ((), (), ())
    waves = [decode(content) for content in contents]
    return Recordings(
        samples=(np.concatenate([*waves, np.zeros(0)]) * 32_767.0).astype(np.int16),
        starts=np.cumsum([0, *(wave.size for wave in waves)]),
        names=np.array(names),
        labels=np.array(labels),
    )


def _is_possible(settings: DegradationSettings, corpus: Corpus) -> bool:
    kinds = {"babble", *corpus.noise.labels}
    noise_is_there = not settings.noise_chance or kinds.issuperset(settings.noise_kinds)
    return noise_is_there and bool(not settings.room_chance or corpus.rooms)


def _draw(clips: dict[str, np.ndarray], picture: Path) -> None:
    figure, axes = plt.subplots(
        3, 3, figsize=(9.0, 5.7), sharex=True, sharey=True, layout="constrained"
    )
    for name, plot in zip(PANELS, axes.flat, strict=True):
        plot.set_title(name, fontsize="medium")
        if name not in clips:
            plot.text(0.5, 0.5, "needs the corpus", ha="center", transform=plot.transAxes)
            continue
        plot.imshow(
            _spectrogram_db(clips[name]),
            extent=(0.0, SHOWN_S, 0.0, SAMPLE_RATE / 2_000.0),
            origin="lower", aspect="auto", cmap="magma", vmin=SHOWN_DB[0], vmax=SHOWN_DB[1],
        )  # fmt: skip
    for plot in axes[:, 0]:
        plot.set_ylabel("kHz")
    for plot in axes[-1]:
        plot.set_xlabel("s")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=100)
    plt.close(figure)
    with Image.open(picture) as drawn:
        few = drawn.convert("RGB").quantize(COLOURS)
    few.save(picture, optimize=True)


def _spectrogram_db(wave: np.ndarray) -> np.ndarray:
    """(bins, frames) dB below the loudest, 25 ms Hann windows every 15 ms."""
    *_, spectrum = stft(wave, SAMPLE_RATE, nperseg=400, noverlap=160)
    power = np.abs(spectrum) ** 2
    return 10.0 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-12))
