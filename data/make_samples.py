"""Makes the sample set: 7 speakers x 10 mp4, out of voice prompts that Debian packages.

    python data/make_samples.py                     fetch the packages with apt-get, make all
    python data/make_samples.py --packages FOLDER   fetch only the .deb files that FOLDER lacks

Which prompts make which recording is a rule without an ear in it; README.md beside this file
states it, and the constants below are its numbers. Needs Debian's apt-get and dpkg-deb, no root.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import subprocess
import sys
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import av
import numpy as np
from moviepy import ImageClip
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

N_RECORDINGS = 10  # a speaker; number 0 is the one to enrol
SHORTEST_S, LONGEST_S = 4.0, 8.0  # a recording
SHORTEST_PROMPT_S = 1.0  # less is a lone word
GAP_S = 0.2  # between two prompts
EDGE_S = 0.1  # silence at both ends: without it FFmpeg's AAC overshoots a first sound by up to 4 dB
NOT_SPEECH = ("beep*", "*-2tone", "tt-*")  # tones; jokes with sound effects

FRAME_S = 0.010  # silence is judged frame by frame
SILENCE_DB = -40.0  # against the prompt's loudest frame
MARGIN_S = 0.05  # kept on either side, so that no soft onset is lost
PEAK_DB = -3.0  # of full scale, before AAC, which overshoots by less than 1 dB

SIZE = (320, 180)  # pixels
FRAMES_PER_S = 5
ENCODER = [
    *("-ac", "1", "-ar", "48000", "-b:a", "96k", "-flags:a", "+bitexact"),
    *("-flags:v", "+bitexact", "-fflags", "+bitexact", "-map_metadata", "-1"),
    *("-movflags", "+faststart"),
]


class SampleError(Exception):
    """A package is missing, not the one that was pinned, or holds too few prompts."""


@dataclass(frozen=True)
class Source:
    """A Debian package of prompts in one language; `folder` is where in it they lie."""

    package: str
    version: str
    folder: str
    language: str
    sha256: str  # of the .deb


@dataclass(frozen=True)
class Speaker:
    """A person; the sources share the recordings' numbers equally, in their order."""

    speaker_id: str
    credit: str  # whose voice, on which terms; stands in the picture, on this colour
    colour: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Prompt:
    """One prompt, trimmed: float32 (samples,) at the package's own rate."""

    name: str
    waveform: np.ndarray
    sample_rate: int  # Hz

    @property
    def duration_s(self) -> float:
        return len(self.waveform) / self.sample_rate


@dataclass(frozen=True)
class Recording:
    """What becomes one mp4."""

    speaker: Speaker
    source: Source
    number: int
    prompts: tuple[Prompt, ...]

    @property
    def file_name(self) -> str:
        return f"{self.speaker.speaker_id}-{self.number}.mp4"


# fmt: off
SPEAKERS = (
    Speaker("ast1@example.org", "Allison Smith. CC BY-SA 3.0", "#1f4e79", (
        Source("asterisk-core-sounds-en-g722", "1.6.1-1", "en_US_f_Allison", "English (US)",
               "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806"),
        Source("asterisk-core-sounds-es-g722", "1.6.1-1", "es_MX_f_Allison", "Spanish (Mexico)",
               "e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8"),
    )),
    Speaker("ast2@example.org", "June Wallack. CC BY-SA 3.0", "#7a3b2e", (
        Source("asterisk-core-sounds-fr-g722", "1.6.1-1", "fr_CA_f_June", "French (Canada)",
               "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0"),
    )),
    Speaker("ast3@example.org", "Carlo Flora. CC BY 3.0", "#2f5d3a", (
        Source("asterisk-core-sounds-it-g722", "1.6.1-1", "it_IT_m_Carlo", "Italian",
               "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016"),
    )),
    Speaker("ast4@example.org", "ivrvoice.ru (Maxim Topal). CC BY 3.0", "#5b3a6e", (
        Source("asterisk-core-sounds-ru-g722", "1.6.1-1", "ru_RU_f_IvrvoiceRU", "Russian",
               "673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b"),
    )),
    Speaker("ast5@example.org", "July E. Jiménez, Avatar Ltda. GPL-2", "#6b5a1e", (
        Source("asterisk-prompt-es-co", "0.20070403-2.1", "es", "Spanish (Colombia)",
               "6702696e045514699e87dc8fb70f370717e5df91f821f7bec8dd0df1be008e83"),
    )),
    Speaker("ast6@example.org", "Armelle Desjardins, © Michel Gutierrez", "#1e6260", (
        Source("asterisk-prompt-fr-armelle", "20070613-2.2", "fr", "French",
               "162570b1a9b3512a98f06b89f60c7c17cf1b9b52297315adca9a4e5be728bea3"),
    )),
    Speaker("ast7@example.org", "Paola Dal Zot, www.voip.ammdomus.it. CC BY-SA 3.0 IT", "#6e2f4f", (
        Source("asterisk-prompt-it-menardi-wav", "1:1.4.22+mm20110907-3.1", "it_IT_f_Menardi",
               "Italian", "3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21"),
    )),
)
# fmt: on


# Packages.


def run(command: Sequence[str | Path], folder: Path) -> None:
    """Runs a command of Debian's in a folder."""
    try:
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise SampleError(f"{command[0]} is not here; Debian is needed") from error
    except subprocess.CalledProcessError as error:
        raise SampleError(f"{' '.join(map(str, command))}: {error.stderr.strip()}") from error


def fetch(source: Source, folder: Path) -> Path:
    """The package's .deb in this folder; downloaded unless one is there."""
    pattern = f"{source.package}_*.deb"
    if not list(folder.glob(pattern)):
        run(["apt-get", "-q", "download", f"{source.package}={source.version}"], folder)
    for path in sorted(folder.glob(pattern)):
        if hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256:
            return path
    raise SampleError(f"{folder}: no {pattern} has SHA-256 {source.sha256}")


def unpack(source: Source, packages: Path, folder: Path) -> Path:
    """Unpacks a package under `folder` and gives its root there."""
    root = folder / source.package
    root.mkdir()
    run(["dpkg-deb", "-x", fetch(source, packages), root], folder)
    return root


def copy_licences(source: Source, root: Path, folder: Path) -> None:
    """Writes the package's licence and credits, as UTF-8; the core packages share one text."""
    name = "asterisk-core-sounds" if "core-sounds" in source.package else source.package
    documents = root / "usr/share/doc" / source.package
    for document in sorted(documents.iterdir()):
        if document.name.startswith("changelog"):
            continue
        content = document.read_bytes()
        if document.suffix == ".gz":
            content = gzip.decompress(content)
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        (folder / f"{name}.{document.stem}.txt").write_text(text, encoding="utf-8")


# Prompts.


def decode(path: Path) -> tuple[np.ndarray, int]:
    """A prompt's samples, float32 (n,) in [-1, 1], and its rate; its suffix names its format."""
    with av.open(str(path), format=path.suffix[1:]) as container:
        stream = container.streams.audio[0]
        frames = [frame.to_ndarray()[0] for frame in container.decode(stream)]
        samples = np.concatenate(frames or [np.zeros(0, np.int16)])
        return samples.astype(np.float32) / 32768, stream.rate


def trim(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Cuts the silence off both ends; nothing is left where there is nothing to hear."""
    size = round(FRAME_S * sample_rate)
    frames = waveform[: len(waveform) // size * size].reshape(-1, size)
    power = (frames.astype(np.float64) ** 2).mean(axis=1)
    if not power.any():
        return waveform[:0]
    loud = np.flatnonzero(power > power.max() * 10 ** (SILENCE_DB / 10))
    margin = round(MARGIN_S * sample_rate)
    return waveform[max(0, loud[0] * size - margin) : (loud[-1] + 1) * size + margin]


def prompt_paths(folder: Path) -> list[Path]:
    """The spoken prompts in the top of a folder, each content once, in an order nobody chose."""
    contents: dict[bytes, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        if not any(fnmatch(path.stem, pattern) for pattern in NOT_SPEECH):
            contents.setdefault(path.read_bytes(), path)
    return sorted(
        contents.values(),
        key=lambda path: hashlib.sha256(f"{folder.name}/{path.stem}".encode()).digest(),
    )


def read_prompts(folder: Path) -> list[Prompt]:
    """The prompts of a folder that are neither too short nor too long for a recording."""
    prompts = []
    for path in prompt_paths(folder):
        waveform, sample_rate = decode(path)
        prompt = Prompt(path.stem, trim(waveform, sample_rate), sample_rate)
        if SHORTEST_PROMPT_S <= prompt.duration_s <= LONGEST_S:
            prompts.append(prompt)
    return prompts


def take(prompts: list[Prompt]) -> tuple[Prompt, ...]:
    """Takes the next recording's prompts off the list: each that still fits, until it is enough."""
    taken: list[Prompt] = []
    duration_s = 2 * EDGE_S - GAP_S
    for prompt in list(prompts):
        if duration_s + GAP_S + prompt.duration_s <= LONGEST_S:
            prompts.remove(prompt)
            taken.append(prompt)
            duration_s += GAP_S + prompt.duration_s
        if duration_s >= SHORTEST_S:
            return tuple(taken)
    raise SampleError(f"too few prompts: {duration_s:.1f} s left, {SHORTEST_S} s needed")


def plan(speaker: Speaker, roots: dict[str, Path]) -> list[Recording]:
    """A speaker's recordings; numbers go to the sources in blocks of equal size."""
    recordings: list[Recording] = []
    for source in speaker.sources:
        folder = roots[source.package] / "usr/share/asterisk/sounds" / source.folder
        prompts = read_prompts(folder)
        for _ in range(N_RECORDINGS // len(speaker.sources)):
            recordings.append(Recording(speaker, source, len(recordings), take(prompts)))
    return recordings


# Files.


def join(prompts: Sequence[Prompt]) -> np.ndarray:
    """The prompts one after another with silence around, float32 (samples,), at the peak level."""
    gap, edge = (
        np.zeros(round(silence_s * prompts[0].sample_rate), np.float32)
        for silence_s in (GAP_S, EDGE_S)
    )
    parts = [part for prompt in prompts for part in (gap, prompt.waveform)]
    waveform = np.concatenate([edge, *parts[1:], edge])
    scaled: np.ndarray = waveform * (10 ** (PEAK_DB / 20) / np.abs(waveform).max())
    return scaled


def write_wav(path: Path, waveform: np.ndarray, sample_rate: int) -> None:
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(sample_rate)
        stream.writeframes(np.round(waveform * 32767).astype("<i2").tobytes())


def draw(recording: Recording) -> np.ndarray:
    """The recording's still picture, uint8 (height, width, 3): ID, number and language, credit."""
    image = Image.new("RGB", SIZE, recording.speaker.colour)
    canvas = ImageDraw.Draw(image)
    lines = (
        (62, 26, "white", recording.speaker.speaker_id),
        (98, 15, "#e0e0e0", f"recording {recording.number}, {recording.source.language}"),
        (162, 10, "#d0d0d0", f"Voice: {recording.speaker.credit}"),
    )
    for y, size, colour, text in lines:
        font = ImageFont.load_default(size=size)
        canvas.text((SIZE[0] // 2, y), text, fill=colour, font=font, anchor="mm")
    return np.asarray(image)


def write_mp4(recording: Recording, path: Path) -> float:
    """Writes the mp4 and gives its sound's length in seconds.

    The sound is handed over as a file, so that only FFmpeg touches it: moviepy 2.2's array clips
    give two channels where one was put in, and so would be heard at half speed.
    """
    waveform, sample_rate = join(recording.prompts), recording.prompts[0].sample_rate
    duration_s = len(waveform) / sample_rate
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "voice.wav"
        write_wav(wav, waveform, sample_rate)
        ImageClip(draw(recording), duration=duration_s).write_videofile(
            str(path),
            fps=FRAMES_PER_S,
            codec="libx264",
            audio=str(wav),
            audio_codec="aac",
            threads=1,
            ffmpeg_params=ENCODER,
            logger=None,
        )
    return duration_s


def write_table(rows: Sequence[dict[str, str | int]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make(packages: Path, folder: Path) -> None:
    """Makes the recordings, `samples.tsv` and `licences/` in this folder."""
    (folder / "licences").mkdir(parents=True, exist_ok=True)
    packages.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as unpacked:
        roots: dict[str, Path] = {}
        for source in tqdm([s for speaker in SPEAKERS for s in speaker.sources], "packages"):
            roots[source.package] = unpack(source, packages, Path(unpacked))
            copy_licences(source, roots[source.package], folder / "licences")
        recordings = [r for speaker in SPEAKERS for r in plan(speaker, roots)]
    rows: list[dict[str, str | int]] = []
    for recording in tqdm(recordings, "recordings"):
        path = folder / recording.file_name
        duration_s = write_mp4(recording, path)
        rows.append(
            {
                "file": path.name,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "speaker_id": recording.speaker.speaker_id,
                "number": recording.number,
                "language": recording.source.language,
                "package": recording.source.package,
                "duration_s": f"{duration_s:.2f}",
                "prompts": " ".join(prompt.name for prompt in recording.prompts),
            }
        )
    write_table(rows, folder / "samples.tsv")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--packages", type=Path, help="where the .deb files are kept; default: nowhere"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="default: this script's folder"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            make((arguments.packages or Path(temporary)).resolve(), arguments.out)
        except SampleError as error:
            print(f"make_samples: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
