"""Recordings that nobody's recorder makes: each follows from a seed and a number alone."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import av
import numpy as np

from utils.audio import SAMPLE_RATE, decode

DATA = Path(__file__).parent.parent / "data"
SECONDS = 1.6
TRACKS = 100_000
FORMS = {  # container, codec, rate
    "mp4": ("mp4", "aac", 44_100),
    "mkv": ("matroska", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
    "ogg": ("ogg", "libopus", 48_000),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "flac": ("flac", "flac", 16_000),
    "wav": ("wav", "pcm_s16le", 16_000),
    "aac": ("adts", "aac", 44_100),
    "avi": ("avi", "mp3", 44_100),
}
HUGE = (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x00FF_FFFF)


@dataclass(frozen=True)
class Hostile:
    """One file, and how it was made."""

    number: int
    kind: str
    form: str
    data: bytes


def make(seed: int, number: int) -> Hostile:
    """The file of a number; the first few are those that are made by hand."""
    if number < len(BY_HAND):
        kind, by_hand = list(BY_HAND.items())[number]
        return Hostile(number, kind, "by hand", by_hand())
    random = Random(f"{seed}/{number}")  # noqa: S311
    form = random.choice(list(good()))
    kind = random.choice(list(CHANGES))
    return Hostile(number, kind, form, CHANGES[kind](good()[form], random))


@cache
def good() -> dict[str, bytes]:
    """A short recording of a voice in every container that is read."""
    wave = decode(DATA / "ast1@example.org-0.mp4")[: round(SECONDS * SAMPLE_RATE)]
    files = {name: _encode(wave, *form) for name, form in FORMS.items()}
    files["mp4 with pictures"] = (DATA / "ast1@example.org-0.mp4").read_bytes()
    return files


def _encode(wave: np.ndarray, container: str, codec: str, rate: int) -> bytes:
    target = io.BytesIO()
    sound = np.ascontiguousarray(wave * 32_767, np.int16)[np.newaxis]
    frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    with av.open(target, "w", format=container) as out:
        track = out.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(track, av.AudioStream), "all of these codecs are of sound"
        for part in av.AudioResampler(track.format, "mono", rate).resample(frame):
            out.mux(track.encode(part))
        out.mux(track.encode(None))
    return target.getvalue()


# Changes of a good file


def flip_bits(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 3, 10, 100, 1000))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, random: Random) -> bytes:
    at, size = random.randrange(len(data)), random.choice((4, 64, 1024))
    filling = random.choice((b"\0" * size, b"\xff" * size, random.randbytes(size)))
    return data[:at] + filling + data[at + size :]


def truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def drop_the_beginning(data: bytes, random: Random) -> bytes:
    return data[random.randrange(len(data)) :]


def huge_number(data: bytes, random: Random) -> bytes:
    """A declared size or count that is not so, as containers write them."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 4))):
        form = random.choice((">I", "<I", ">H", ">Q"))
        size = struct.calcsize(form)
        at = random.randrange(0, min(len(changed) - size, random.choice((64, 2048, 1 << 30))))
        value = random.choice(HUGE)
        struct.pack_into(form, changed, at, value & ((1 << 8 * size) - 1))
    return bytes(changed)


def move_parts(data: bytes, random: Random) -> bytes:
    """Boxes (or what lies between two places) swapped, doubled or left out."""
    parts = _boxes(data) or _slices(data, random)
    for _ in range(random.choice((1, 2, 5))):
        way = random.randrange(3)
        one, other = random.randrange(len(parts)), random.randrange(len(parts))
        if way == 0:
            parts[one], parts[other] = parts[other], parts[one]
        elif way == 1:
            parts.insert(one, parts[other])
        elif len(parts) > 1:
            del parts[one]
    return b"".join(parts)


def nest_boxes(data: bytes, random: Random) -> bytes:
    """An mp4's boxes inside each other, deeper than anybody reads."""
    inner = random.choice(_boxes(data) or [data[:200]])
    name = random.choice((b"moov", b"trak", b"mdia", b"udta", b"meta"))
    for _ in range(random.choice((2, 50, 5_000))):
        inner = struct.pack(">I", len(inner) + 8) + name + inner
        if len(inner) > 1 << 20:
            break
    return data[:32] + inner + data[32:]


def splice(data: bytes, random: Random) -> bytes:
    other = good()[random.choice(list(good()))]
    return data[: random.randrange(len(data))] + other[random.randrange(len(other)) :]


def repeat(data: bytes, random: Random) -> bytes:
    return data * random.choice((2, 10, 40))


def noise(data: bytes, random: Random) -> bytes:
    """The first bytes of a container, and then nothing that means anything."""
    return data[: random.choice((4, 12, 64))] + random.randbytes(random.choice((0, 100, 20_000)))


CHANGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "bits flipped": flip_bits,
    "bytes overwritten": overwrite,
    "truncated": truncate,
    "without its beginning": drop_the_beginning,
    "huge numbers": huge_number,
    "parts moved": move_parts,
    "boxes nested": nest_boxes,
    "spliced": splice,
    "repeated": repeat,
    "noise": noise,
}


def _boxes(data: bytes) -> list[bytes]:
    """An mp4's outermost boxes, the movie's own taken apart; none of another container."""
    found, at = [], 0
    if data[4:8] != b"ftyp":
        return []
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8:
            break
        name = data[at + 4 : at + 8]
        if name == b"moov":
            size = 8  # its head alone; its boxes follow
        found.append(data[at : at + size])
        at += size
    return found


def _slices(data: bytes, random: Random) -> list[bytes]:
    cuts = sorted(random.randrange(len(data)) for _ in range(6))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


# By hand: what is small and wants to be large


def much_silence() -> bytes:
    """Hours in a few kilobytes: a lossless codec has next to nothing to say of silence."""
    target = io.BytesIO()
    with av.open(target, "w", format="flac") as out:
        track = out.add_stream("flac", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 65_535), np.int16), "s16", "mono")
        frame.sample_rate = 8_000
        track.codec_context.options = {"frame_size": "65535"}
        for _ in range(4 * 3600 * 8_000 // 65_535):
            frame.pts = None
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return target.getvalue()


def wav_of_terabytes() -> bytes:
    data = bytearray(good()["wav"])
    data[4:8] = b"\xff" * 4
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\x7f"
    return bytes(data)


def wav_of_many_channels() -> bytes:
    data = bytearray(good()["wav"])
    struct.pack_into("<HI", data, 22, 65_535, 0xFFFF_FFFF)
    return bytes(data)


def many_tracks() -> bytes:
    """A movie of 100,000 empty tracks."""
    head = struct.pack(">I4sII", 16, b"trak", 8, int.from_bytes(b"tkhd", "big"))
    movie = head * TRACKS
    ftyp = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 512)
    return ftyp + struct.pack(">I4s", len(movie) + 8, b"moov") + movie


def many_real_tracks() -> bytes:
    """A real track as often as fits into 20 MB."""
    data = good()["mp4"]
    at = data.index(b"trak") - 4
    track = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    movie_at = data.index(b"moov") - 4
    movie = data[movie_at : movie_at + int.from_bytes(data[movie_at : movie_at + 4], "big")]
    times = min(TRACKS, (20 << 20) // len(track))
    body = movie[8:] + track * times
    whole = struct.pack(">I4s", len(body) + 8, b"moov") + body
    return data[:movie_at] + whole + data[movie_at + len(movie) :]


def endless_samples() -> bytes:
    """A track that says it has four thousand million samples of one byte."""
    data = bytearray(good()["mp4"])
    at = data.index(b"stsz") + 8
    struct.pack_into(">II", data, at, 1, 0xFFFF_FFFF)
    return bytes(data)


def endless_time() -> bytes:
    """A track whose samples last for years."""
    data = bytearray(good()["mp4"])
    at = data.index(b"stts") + 8
    struct.pack_into(">III", data, at, 1, 0xFFFF_FFFF, 0x7FFF_FFFF)
    return bytes(data)


def nothing() -> bytes:
    return b""


BY_HAND: dict[str, Callable[[], bytes]] = {
    "hours of silence": much_silence,
    "a wav of gigabytes": wav_of_terabytes,
    "65,535 channels": wav_of_many_channels,
    "100,000 tracks": many_tracks,
    "one track a thousand times": many_real_tracks,
    "4,294,967,295 samples": endless_samples,
    "samples that last for years": endless_time,
    "nothing": nothing,
}
