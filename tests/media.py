"""Makes recordings for tests, good and hostile ones, with what PyAV carries; none is stored."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 6: "5.1"}
FRAMES_A_SECOND = 25


def tone(seconds: float, rate: int, hz: float = 1000.0, amplitude: float = 0.5) -> np.ndarray:
    """A sine: float32 (samples,)."""
    t = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def record(
    path: Path,
    waveforms: list[np.ndarray],
    rate: int,
    *,
    form: str | None = None,
    codecs: tuple[str, ...] = ("aac",),
    video_codec: str | None = None,
    options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
) -> Path:
    """Writes a recording with one audio track for each of `codecs`, and a picture that moves.

    Args:
        path: what to write; its ending chooses the container unless `form` does.
        waveforms: one (samples,) for each channel.
        rate: Hz, of the waveforms and of the tracks.
    """
    samples = np.stack(waveforms).astype(np.float32)
    layout = LAYOUTS[len(samples)]
    with av.open(str(path), "w", format=form, options=options or {}) as container:
        container.metadata.update(tags or {})
        video = None
        if video_codec:
            video = container.add_stream(video_codec, rate=FRAMES_A_SECOND)
            video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        tracks = [container.add_stream(codec, rate=rate) for codec in codecs]
        for track in tracks:
            track.layout = layout
        step = rate // FRAMES_A_SECOND
        for i, start in enumerate(range(0, samples.shape[1], step)):
            if video:
                picture = np.full((96, 160, 3), 40, np.uint8)
                picture[20:60, i % 100 : i % 100 + 40] = 200
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(video.encode(frame))
            for track in tracks:
                block = np.ascontiguousarray(samples[:, start : start + step])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate, start
                frame.time_base = Fraction(1, rate)
                container.mux(track.encode(frame))
        for track in [video, *tracks] if video else tracks:
            container.mux(track.encode(None))
    return path


def silent_video(path: Path) -> Path:
    """An mp4 with pictures and no audio track."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAMES_A_SECOND)
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        for _ in range(10):
            picture = np.zeros((96, 160, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    return path


def wav(samples: np.ndarray, rate: int, *, data_bytes: int | None = None) -> bytes:
    """A PCM wav of (samples, channels), uint8, int16, int32, float32 or float64, bit for bit."""
    data = np.ascontiguousarray(samples).tobytes()
    bits, n_channels = 8 * samples.itemsize, samples.shape[1]
    block = n_channels * samples.itemsize
    tag = 3 if samples.dtype.kind == "f" else 1
    head = struct.pack("<HHIIHH", tag, n_channels, rate, rate * block, block, bits)
    n_bytes = len(data) if data_bytes is None else data_bytes
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", n_bytes) + data
    return b"RIFF" + struct.pack("<I", min(len(body), 0xFFFFFFFF)) + body


def box(name: bytes, *parts: bytes) -> bytes:
    """A box of the mp4 format."""
    payload = b"".join(parts)
    return struct.pack(">I4s", 8 + len(payload), name) + payload


def full_box(name: bytes, *parts: bytes) -> bytes:
    """A box that starts with a version and flags, all zero."""
    return box(name, bytes(4), *parts)


def replace_box(data: bytes, way: tuple[bytes, ...], new: bytes) -> bytes:
    """Puts `new` where the box at the end of `way` is and corrects the sizes around it."""
    out, at = b"", 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        if name == way[0]:
            inner = data[at + 8 : at + size]
            out += new if len(way) == 1 else box(name, replace_box(inner, way[1:], new))
        else:
            out += data[at : at + size]
        at += size
    return out


def declared_samples_mp4(handler: bytes, n_samples: int) -> bytes:
    """An mp4 of 600 bytes whose index claims `n_samples` samples."""
    entry = (
        box(b".mp3", bytes(6), b"\0\1", bytes(8), struct.pack(">HHHHI", 2, 16, 0, 0, 44100 << 16))
        if handler == b"soun"
        else box(b"text", bytes(6), b"\0\1", bytes(40))
    )
    table = box(
        b"stbl",
        full_box(b"stsd", struct.pack(">I", 1), entry),
        full_box(b"stts", struct.pack(">III", 1, n_samples, 1)),
        full_box(b"stsc", struct.pack(">IIII", 1, 1, n_samples, 1)),
        full_box(b"stsz", struct.pack(">II", 1, n_samples)),
        full_box(b"stco", struct.pack(">II", 1, 0)),
    )
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">IIIIHH", 0, 0, 44100, 1000, 0, 0)),
        full_box(b"hdlr", bytes(4), handler, bytes(13)),
        box(b"minf", table),
    )
    header = box(b"tkhd", b"\0\0\0\7", struct.pack(">IIIII", 0, 0, 1, 0, 1000), bytes(60))
    movie = full_box(b"mvhd", struct.pack(">IIIII", 0, 0, 1000, 1000, 0x10000), bytes(76))
    return (
        box(b"ftyp", b"isom", bytes(4), b"isom")
        + box(b"moov", movie, box(b"trak", header, media), _fragment_defaults())
        + box(b"mdat", bytes(100))
    )


def _fragment_defaults() -> bytes:
    return box(b"mvex", full_box(b"trex", struct.pack(">IIIII", 1, 1, 1, 1, 0)))


def declared_fragment_mp4(n_samples: int) -> bytes:
    """A fragmented mp4 whose one run claims `n_samples` samples and spends no byte on them."""
    run = box(
        b"traf",
        full_box(b"tfhd", struct.pack(">I", 1)),
        full_box(b"trun", struct.pack(">I", n_samples)),
    )
    fragment = box(b"moof", full_box(b"mfhd", struct.pack(">I", 1)), run)
    return declared_samples_mp4(b"soun", 0) + fragment + box(b"mdat", bytes(100))


def compressed_index_mp4(n_bytes: int) -> bytes:
    """A QuickTime file whose index unpacks to `n_bytes` of nothing."""
    packed = box(b"cmvd", struct.pack(">I", n_bytes), zlib.compress(bytes(n_bytes), 1))
    return box(b"ftyp", b"qt  ", bytes(4)) + box(
        b"moov", box(b"cmov", box(b"dcom", b"zlib"), packed)
    )


def odd_channel_map_mov(path: Path) -> bytes:
    """A mov whose three channels are named in another order than FFmpeg's own."""
    record(path, [tone(0.5, 16_000)] * 3, 16_000, codecs=("pcm_s16le",))
    left_right_centre, centre_left_right = (113 << 16) | 3, (114 << 16) | 3
    data = path.read_bytes()
    assert data.count(struct.pack(">I", left_right_centre)) == 1
    return data.replace(struct.pack(">I", left_right_centre), struct.pack(">I", centre_left_right))


def alias_mov(path: Path, target: Path) -> tuple[bytes, bytes]:
    """A mov whose sound lies in `target`, by an absolute path, and what to write there."""
    record(path, [tone(1.0, 16_000)], 16_000, codecs=("pcm_s16le",))
    whole = path.read_bytes()
    name = str(target).encode()
    name += bytes(len(name) % 2)
    alias = struct.pack(">H", 2) + struct.pack(">H", len(name)) + name + b"\xff\xff" + bytes(2)
    fixed = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + bytes(4) + bytes(16)
    reference = full_box(b"dref", struct.pack(">I", 1), full_box(b"alis", fixed, alias))
    way = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
    start = whole.index(b"mdat") + 4
    silenced = whole[:start] + bytes(2 * 16_000) + whole[start + 2 * 16_000 :]
    return replace_box(silenced, way, reference), whole
