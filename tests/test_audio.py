"""Recordings in, waves out: every kind of file, exact levels, limits that hold, hostile media."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import struct
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import media
from utils.audio import SAMPLE_RATE, AudioLimits, decode
from utils.errors import (
    BadAudio,
    NoAudioTrack,
    NotDecodable,
    RecordingNotFound,
    TooLarge,
    TooLong,
    TooSlow,
)

ROOT = Path(__file__).parent.parent
SECONDS = 2.0
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

# name -> how `media.record` makes it; what is not said is AAC in stereo at 48 kHz
KINDS: dict[str, dict] = {
    "video.mp4": {"video_codec": "libx264"},
    "index_first.mp4": {"video_codec": "libx264", "options": {"movflags": "faststart"}},
    "fragmented.mp4": {"video_codec": "libx264", "options": FRAGMENTS},
    "sound_only.mp4": {},
    "phone.m4a": {},
    "camera.mov": {"video_codec": "libx264", "codecs": ("pcm_s16le",)},
    "lossless.m4a": {"codecs": ("alac",)},
    "browser.webm": {
        "video_codec": "libvpx",
        "codecs": ("libopus",),
        "options": {"live": "1"},
    },
    "browser_sound_only.webm": {"codecs": ("libopus",), "options": {"live": "1"}},
    "video.mkv": {"video_codec": "libx264"},
    "lossless.mkv": {"codecs": ("flac",)},
    "sound.wav": {"codecs": ("pcm_s16le",)},
    "sound_24_bit.wav": {"codecs": ("pcm_s24le",)},
    "telephone.wav": {"codecs": ("pcm_mulaw",)},
    "sound.flac": {"codecs": ("flac",)},
    "sound.mp3": {"codecs": ("libmp3lame",)},
    "sound.ogg": {"codecs": ("libopus",)},
    "sound.opus": {"form": "ogg", "codecs": ("libopus",)},
    "sound.aac": {"form": "adts"},
    "video.avi": {"video_codec": "mpeg4", "codecs": ("libmp3lame",)},
    "raw.avi": {"video_codec": "mpeg4", "codecs": ("pcm_s16le",)},
}


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two seconds of a 1 kHz tone of amplitude 0.5 on both sides, as every kind of file."""
    folder = tmp_path_factory.mktemp("recordings")
    both_sides = [media.tone(SECONDS, 48_000)] * 2
    return {
        name: media.record(folder / name, both_sides, 48_000, **how) for name, how in KINDS.items()
    }


def amplitude(wave: np.ndarray, hz: float) -> float:
    """How strong a tone is in the middle half of a wave."""
    part = wave[len(wave) // 4 : -len(wave) // 4].astype(np.float64)
    window = np.hanning(len(part))
    turns = np.exp(-2j * np.pi * hz * np.arange(len(part)) / SAMPLE_RATE)
    return float(2 * np.abs((part * window * turns).sum()) / window.sum())


def wave_of_int16(samples: np.ndarray, rate: int = SAMPLE_RATE) -> np.ndarray:
    return decode(media.wav(samples, rate))


# Every kind of file


@pytest.mark.parametrize("name", KINDS)
def test_any_common_recording_becomes_a_wave_from_a_path_and_from_memory_alike(recordings, name):
    path = recordings[name]
    wave = decode(path)
    assert (wave.dtype, wave.ndim) == (np.float32, 1)
    assert len(wave) == pytest.approx(SECONDS * SAMPLE_RATE, abs=0.05 * SAMPLE_RATE)
    assert amplitude(wave, 1000) == pytest.approx(0.5, abs=0.04)
    np.testing.assert_array_equal(decode(path.read_bytes()), wave)
    with path.open("rb") as stream:
        stream.seek(100)  # wherever an upload's parser left it
        np.testing.assert_array_equal(decode(stream), wave)
        assert not stream.closed


def test_the_first_track_that_can_be_decoded_is_taken(tmp_path):
    path = tmp_path / "two.mkv"
    media.record(path, [media.tone(1, 48_000)], 48_000, codecs=("wavpack", "libopus"))
    assert amplitude(decode(path), 1000) == pytest.approx(0.5, abs=0.02)


def test_a_cover_picture_is_no_obstacle(recordings):
    picture = b"\0image/png\0\x03\0\x89PNG\r\n\x1a\n" + bytes(70_000)
    frame = b"APIC" + struct.pack(">I", len(picture)) + bytes(2) + picture
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    tagged = b"ID3\3\0\0" + size + frame + recordings["sound.mp3"].read_bytes()
    assert amplitude(decode(tagged), 1000) == pytest.approx(0.5, abs=0.04)


def test_names_and_tags_in_any_encoding_are_no_obstacle(tmp_path):
    path = tmp_path / "hong@example.org-0 홍길동 \udcff.m4a"
    tags = {"title": "QQQQQQQQ"}
    media.record(tmp_path / "tagged.m4a", [media.tone(1, 16_000)], 16_000, tags=tags)
    data = (tmp_path / "tagged.m4a").read_bytes()
    assert data.count(b"QQQQQQQQ") == 1
    path.write_bytes(data.replace(b"QQQQQQQQ", b"\xff\xfe\xc7\xd1\x80\x00\xb1\xdb"))
    assert amplitude(decode(path), 1000) == pytest.approx(0.5, abs=0.02)


# Levels, lengths, pitch


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize(
    ("sides", "expected"), [((1, 0), 0.25), ((0, 1), 0.25), ((1, 1), 0.5), ((1, -1), 0.0)]
)
def test_stereo_is_the_mean_of_both_sides(rate, sides, expected):
    t = media.tone(1, rate)
    stereo = np.stack([side * t for side in sides], axis=1)
    assert amplitude(decode(media.wav(stereo, rate)), 1000) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("n_channels", [1, 2, 6])
def test_rate_and_channels_change_neither_pitch_nor_level_nor_length(rate, n_channels):
    samples = np.repeat(media.tone(1.5, rate)[:, None], n_channels, axis=1)
    wave = decode(media.wav((samples * 32767).astype(np.int16), rate))
    assert len(wave) == pytest.approx(1.5 * SAMPLE_RATE, abs=2)
    assert amplitude(wave, 1000) == pytest.approx(0.5, rel=1e-3)
    rest = wave - media.tone(len(wave) / SAMPLE_RATE, SAMPLE_RATE)
    assert np.abs(rest[1000:-1000]).max() < 2e-3  # no shift and no distortion


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("hz", [9_000, 12_000, 20_000])
def test_what_16_khz_cannot_carry_does_not_come_back_as_something_else(rate, hz):
    wave = decode(media.wav(media.tone(1, rate, hz)[:, None], rate))
    assert np.abs(wave[1000:-1000]).max() < 1e-3


def test_long_recordings_are_joined_without_seams():
    rate, seconds = 44_100, 8.0  # many blocks of the resampler
    wave = decode(media.wav(media.tone(seconds, rate)[:, None], rate))
    expected = media.tone(seconds, SAMPLE_RATE)
    assert len(wave) == len(expected)
    assert np.abs(wave - expected)[200:-200].max() < 1e-3


def test_the_last_samples_are_not_lost():
    rate = 48_000
    click = np.zeros((rate, 1), np.float32)
    click[-30:] = 0.9
    assert np.abs(decode(media.wav(click, rate))[-12:]).max() > 0.5


@pytest.mark.parametrize(
    ("dtype", "half"),
    [("u1", 192), ("i2", 16384), ("i4", 1 << 30), ("f4", 0.5), ("f8", 0.5)],
)
def test_every_sample_format_has_the_same_full_scale(dtype, half):
    zero = 128 if dtype == "u1" else 0
    steps = np.array([zero, half, 2 * zero - half, zero] * 4000, np.dtype(dtype))
    wave = decode(media.wav(steps[:, None], SAMPLE_RATE))
    np.testing.assert_array_equal(wave, np.tile(np.float32([0, 0.5, -0.5, 0]), 4000))


def test_planar_floats_are_read_like_interleaved_ones(recordings):
    planar, interleaved = decode(recordings["sound_only.mp4"]), decode(recordings["sound.wav"])
    assert amplitude(planar, 1000) == pytest.approx(amplitude(interleaved, 1000), rel=0.02)


def test_what_overshoots_full_scale_is_clipped():
    loud = media.tone(1, SAMPLE_RATE, amplitude=4.0)[:, None]
    wave = decode(media.wav(loud, SAMPLE_RATE))
    assert (wave.min(), wave.max()) == (-1.0, 1.0)
    assert np.isfinite(decode(media.wav(loud * np.float32(1e30), 44_100))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_samples_that_are_not_numbers_are_refused(value, rate):
    samples = np.stack([media.tone(1, rate), -media.tone(1, rate)], axis=1)
    samples[500] = value, -value
    with pytest.raises(NotDecodable, match="not numbers"):
        decode(media.wav(samples, rate))


def test_a_stream_that_changes_on_its_way_is_read_to_its_end(tmp_path):
    first = media.record(
        tmp_path / "1.aac", [media.tone(1, 44_100)], 44_100, form="adts", codecs=("aac",)
    )
    second = media.record(
        tmp_path / "2.aac", [media.tone(1, 22_050)] * 2, 22_050, form="adts", codecs=("aac",)
    )
    wave = decode(first.read_bytes() + second.read_bytes())
    assert len(wave) == pytest.approx(2 * SAMPLE_RATE, abs=0.2 * SAMPLE_RATE)
    for part in (wave[:15_000], wave[-15_000:]):
        assert amplitude(part, 1000) == pytest.approx(0.5, abs=0.03)


def test_a_chained_ogg_does_not_end_the_process(recordings):
    twice = recordings["sound.ogg"].read_bytes() * 2
    assert len(decode(twice)) >= SECONDS * SAMPLE_RATE - 10


def test_a_wav_from_a_pipe_does_not_know_its_length():
    samples = media.tone(1, SAMPLE_RATE)[:, None]
    endless = media.wav(samples, SAMPLE_RATE, data_bytes=0xFFFFFFFF)
    assert len(decode(endless, AudioLimits(max_seconds=2))) == SAMPLE_RATE


# Limits


def test_too_many_bytes_are_refused_wherever_they_are(recordings):
    path = recordings["sound.wav"]
    data = path.read_bytes()
    limits = AudioLimits(max_bytes=len(data) - 1)
    for source in (path, data, io.BytesIO(data)):
        with pytest.raises(TooLarge, match=f"{len(data):,} bytes .* at most {len(data) - 1:,}"):
            decode(source, limits)
    assert len(decode(path, AudioLimits(max_bytes=len(data))))


class CountedStream(io.BytesIO):
    """Counts the bytes that were asked for and may be slow about them."""

    def __init__(self, data: bytes, pause_s: float = 0.0, pause_after: int = 0) -> None:
        super().__init__(data)
        self.n_read, self.pause_s, self.pause_after = 0, pause_s, pause_after

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.n_read += len(data)
        if self.n_read > self.pause_after:
            time.sleep(self.pause_s)
        return data


@pytest.mark.parametrize("name", ["video.mp4", "lossless.mkv", "sound.flac", "sound.ogg"])
def test_a_declared_length_above_the_limit_is_refused_at_once(tmp_path, name):
    rate = 16_000 if name != "sound.ogg" else 48_000
    path = media.record(tmp_path / name, [media.tone(30, rate)], rate, **KINDS[name])
    stream = CountedStream(path.read_bytes())
    with pytest.raises(TooLong, match=r"30\.\d s is too long .* at most 5 s"):
        decode(stream, AudioLimits(max_seconds=5))
    assert stream.n_read < path.stat().st_size / 2 or stream.n_read < 200_000


@pytest.mark.parametrize("name", ["sound.aac", "sound.mp3", "browser.webm", "sound.wav"])
def test_an_undeclared_length_is_refused_when_it_is_reached(tmp_path, name):
    rate = 16_000 if name != "browser.webm" else 48_000
    path = media.record(tmp_path / name, [media.tone(3, rate)], rate, **KINDS[name])
    if name in ("sound.aac", "sound.mp3"):
        path.write_bytes(path.read_bytes() * 2000)  # an hour and a half
    with pytest.raises(TooLong, match="more than 2 s"):
        decode(path, AudioLimits(max_seconds=2))
    stream = CountedStream(path.read_bytes())
    with pytest.raises(TooLong):
        decode(stream, AudioLimits(max_seconds=2))
    assert stream.n_read < 1_000_000


@pytest.mark.parametrize("name", ["sound.wav", "video.mp4", "browser.webm", "sound.mp3"])
@pytest.mark.parametrize("pause_after", [0, 40_000])
def test_a_recording_that_takes_too_long_is_given_up(recordings, name, pause_after):
    data = recordings[name].read_bytes() * 4  # more than fits into one read
    stream = CountedStream(data, pause_s=0.06, pause_after=pause_after)
    started = time.monotonic()
    with pytest.raises(TooSlow, match=r"longer than 0\.1 s"):
        decode(stream, AudioLimits(max_decode_s=0.1))
    assert time.monotonic() - started < 5.0
    assert len(decode(data))  # and the thread's next recording does not hear of it


def test_a_source_that_fails_is_not_blamed_on_the_next_one(recordings):
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 30_000:
                raise OSError("the disk is gone")
            return super().read(size)

    data = recordings["sound.wav"].read_bytes()
    with pytest.raises(NotDecodable, match="send it again") as caught:
        decode(Failing(data))
    assert isinstance(caught.value.__cause__, OSError)
    assert len(decode(data))


# What is not a recording, or a broken one


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0", id="one byte"),
        pytest.param(bytes(5000), id="zeros"),
        pytest.param("안녕하세요, this is a text.\n".encode() * 50, id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(200), id="png"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200), id="jpeg"),
        pytest.param(b"RIFF\x24\x00\x00\x00WAVE", id="wav that ends at once"),
        pytest.param(media.box(b"ftyp", b"isom", bytes(4)), id="mp4 without an index"),
    ],
)
def test_what_is_no_recording_is_not_decodable(tmp_path, data):
    path = tmp_path / "recording.mp4"
    path.write_bytes(data)
    for source in (path, data):
        with pytest.raises(NotDecodable, match="send an mp4"):
            decode(source)


def test_an_archive_is_not_decodable(recordings):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(recordings["sound.wav"], "sound.wav")
    with pytest.raises(NotDecodable):
        decode(archive)


def test_a_video_without_sound_has_no_audio_track(tmp_path):
    with pytest.raises(NoAudioTrack, match="no audio track; send one with sound"):
        decode(media.silent_video(tmp_path / "silent.mp4"))


def test_sound_of_no_length_is_not_decodable():
    with pytest.raises(NotDecodable, match="holds no sound"):
        decode(media.wav(np.zeros((0, 1), np.int16), SAMPLE_RATE))


def test_a_codec_that_is_not_taken_is_named(tmp_path):
    path = media.record(tmp_path / "rare.mkv", [media.tone(1, 16_000)], 16_000, codecs=("wavpack",))
    with pytest.raises(NotDecodable, match=r"\(wavpack\); send AAC"):
        decode(path)


@pytest.mark.parametrize("rate", [1, 1000, 2_000_000_000])
def test_absurd_sample_rates_are_refused(rate):
    with pytest.raises(NotDecodable):
        decode(media.wav(np.zeros((4000, 1), np.uint8), rate))


def test_absurd_channel_counts_are_refused():
    with pytest.raises(NotDecodable, match="40 channels; send mono or stereo"):
        decode(media.wav(np.zeros((4000, 40), np.int16), SAMPLE_RATE))


def test_a_path_that_leads_nowhere_is_not_found(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "none.mp4", tmp_path, tmp_path / "pipe.mp4"):
        with pytest.raises(RecordingNotFound, match="check its folder and name"):
            decode(path)


def test_a_recording_cut_in_half_is_decoded_up_to_there(recordings):
    for name in ("index_first.mp4", "fragmented.mp4", "browser.webm", "sound.mp3", "sound.flac"):
        data = recordings[name].read_bytes()
        n_samples = len(decode(data[: len(data) // 2 + 2000]))
        assert 0.2 * SECONDS * SAMPLE_RATE < n_samples < 0.9 * SECONDS * SAMPLE_RATE, name


def test_an_mp4_that_lost_its_index_is_not_decodable(recordings):
    data = recordings["video.mp4"].read_bytes()
    with pytest.raises(NotDecodable, match="broken, cut off"):
        decode(data[: data.index(b"moov") - 4])


@pytest.mark.parametrize("name", ["sound.aac", "sound_only.mp4", "sound.mp3", "sound.flac"])
def test_broken_packets_in_the_middle_are_left_out(recordings, name):
    data = bytearray(recordings[name].read_bytes())
    noise = np.random.default_rng(0).bytes(300)
    middle = len(data) // 2
    data[middle : middle + 300] = noise
    wave = decode(bytes(data))
    assert len(wave) > 0.8 * SECONDS * SAMPLE_RATE
    quarter = wave[: len(wave) // 4]
    assert amplitude(quarter, 1000) == pytest.approx(0.5, abs=0.05)


def test_a_recording_that_is_mostly_broken_is_refused(tmp_path):
    path = media.record(tmp_path / "long.m4a", [media.tone(20, 16_000)], 16_000)
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    with pytest.raises(NotDecodable, match="pieces of the audio track are broken"):
        decode(bytes(data))


# Nothing but the recording itself is opened


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine, and the requests it was sent."""
    asked: list[str] = []
    body = media.wav(media.tone(1, SAMPLE_RATE)[:, None], SAMPLE_RATE)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the server's own that no upload may reach."""
    path = tmp_path / "canary.wav"
    path.write_bytes(media.wav(media.tone(1, SAMPLE_RATE)[:, None], SAMPLE_RATE))
    return path


def playlists(url: str, canary: Path) -> dict[str, bytes]:
    target = f"#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}/x.ts\n#EXTINF:9,\n{canary}\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n"
    mpd = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/mp4">'
        f'<Representation id="1" bandwidth="9"><BaseURL>{url}/x.mp4</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>"
    )
    texts = {
        "ffconcat": f"ffconcat version 1.0\nfile {canary.name}\n",
        "ffconcat, absolute": f"ffconcat version 1.0\nfile '{canary}'\n",
        "ffconcat, url": f"ffconcat version 1.0\nfile {url}/x.wav\n",
        "ffconcat, protocol": f"ffconcat version 1.0\nfile subfile,,start,0,end,0,,:{canary}\n",
        "m3u8": f"#EXTM3U\n#EXT-X-VERSION:3\n{target}#EXT-X-ENDLIST\n",
        "m3u8, key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}/key"\n{target}',
        "sdp": sdp,
        "dash": mpd,
        "url": f"{url}/x.wav\n",
        "imf": f"<AssetMap><Path>{url}/x.mxf</Path></AssetMap>",
    }
    return {name: text.encode() for name, text in texts.items()}


def test_the_attacks_are_real(web, canary, monkeypatch):
    """Left alone, FFmpeg opens a file of the server's, and asked for a little more, a URL."""
    monkeypatch.chdir(canary.parent)
    url, asked = web
    lists = playlists(url, canary)
    with av.open(io.BytesIO(lists["ffconcat"])) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == SAMPLE_RATE
    assert asked == []
    with av.open(io.BytesIO(lists["ffconcat, url"]), options={"safe": "0"}) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) == SAMPLE_RATE
    assert asked == ["/x.wav"]


def test_no_playlist_reaches_the_network_or_another_file(web, canary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url, asked = web
    for name, data in playlists(url, canary).items():
        path = tmp_path / f"attack-{name.replace(', ', '-')}.mp4"
        path.write_bytes(data)
        for source in (path, data, Path(path.name)):
            with pytest.raises(NotDecodable):
                decode(source)
    assert asked == []


def test_a_mov_that_points_to_another_file_stays_silent(tmp_path):
    other = tmp_path / "other.mov"
    attack, other_data = media.alias_mov(tmp_path / "made.mov", other)
    other.write_bytes(other_data)
    path = tmp_path / "attack.mp4"
    path.write_bytes(attack)
    dangerous = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(path), options=dangerous) as container:  # the attack is a real one
        assert max(np.abs(f.to_ndarray()).max() for f in container.decode(audio=0)) > 16_000
    for source in (path, attack):
        with pytest.raises(NotDecodable, match="holds no sound"):
            decode(source)


def test_file_names_are_names_and_never_protocols(web, canary, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url, asked = web
    own = media.wav(media.tone(1, SAMPLE_RATE, hz=440)[:, None], SAMPLE_RATE)
    for name in (
        f"concat:{canary.name}",
        f"file:{canary.name}",
        f"crypto:{canary.name}",
        f"subfile,,start,0,end,99999,,:{canary.name}",
        f"async:{canary.name}",
        f"cache:{canary.name}",
        "data:audio,x.mp4",
        "pipe:0",
        "-",
        url.replace("/", "") + "x.wav",
        "a%03d.mp4",
        "홍길동@example.org-1.mp4",
    ):
        Path(name).write_bytes(own)
        wave = decode(Path(name))
        assert (amplitude(wave, 440), amplitude(wave, 1000)) == pytest.approx((0.5, 0), abs=1e-3), (
            name
        )
    assert asked == []


# Crafted to hurt the process: each runs in a process of its own

HOSTILE = """
    import json, resource, sys, time
    from pathlib import Path
    from tests import media
    from utils.audio import decode
    from utils.errors import SpeakerServerError

    path, name = Path(sys.argv[1]), sys.argv[2]
    data = {
        "index": lambda: media.declared_samples_mp4(b"text", 80_000_000),
        "sound index": lambda: media.declared_samples_mp4(b"soun", 2_000_000_000),
        "fragment": lambda: media.declared_fragment_mp4(80_000_000),
        "compressed index": lambda: media.compressed_index_mp4(60 << 20),
        "channel map": lambda: media.odd_channel_map_mov(path),
    }[name]()
    decode(media.wav(media.np.zeros((9, 1), "i2"), 16_000))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    results = []
    for _ in range(3):
        try:
            results.append(len(decode(data)))
        except SpeakerServerError as error:
            results.append(error.title)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([results, grown / 1024, time.process_time() - started]))
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("index", "NoAudioTrack"),
        ("sound index", "NotDecodable"),
        ("fragment", "NotDecodable"),
        ("compressed index", "NotDecodable"),
        ("channel map", 8_000),
    ],
)
def test_a_crafted_file_costs_neither_memory_nor_the_process(tmp_path, name, expected):
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HOSTILE), str(tmp_path / "made.mov"), name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    results, grown_mib, seconds = json.loads(run.stdout)
    assert results == [expected] * 3
    assert grown_mib < 70
    assert seconds < 5


# Manners


def n_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_threads_do_not_disturb_each_other(recordings):
    sources = [path.read_bytes() for path in recordings.values()]
    alone = [decode(source) for source in sources]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(decode, sources * 4))
    for wave, expected in zip(together, alone * 4, strict=True):
        np.testing.assert_array_equal(wave, expected)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_no_file_stays_open(recordings, tmp_path):
    video = recordings["video.mp4"]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:9000])
    text = tmp_path / "text.mp4"
    text.write_text("not a recording")
    before = n_open_files()
    for _ in range(50):
        for path, limits in (
            (broken, AudioLimits()),
            (text, AudioLimits()),
            (video, AudioLimits(max_seconds=1)),
            (video, AudioLimits(max_bytes=1)),
            (video, AudioLimits(max_decode_s=0)),
        ):
            with pytest.raises((BadAudio, TooLarge)):
                decode(path, limits)
        decode(video)
    assert n_open_files() == before


def test_nothing_is_printed_and_no_name_is_logged(recordings, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    for name, path in recordings.items():
        data = path.read_bytes()
        path_of_half = path.with_name(f"half-{name}")
        path_of_half.write_bytes(data[: len(data) // 2])
        with contextlib.suppress(BadAudio):
            decode(path_of_half)
        path_of_half.unlink()
        assert name not in caplog.text
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")


# Properties

FUZZED = ("sound_only.mp4", "fragmented.mp4", "browser.webm", "sound.ogg", "sound.wav", "sound.mp3")


def wave_or_refusal(data: bytes) -> None:
    try:
        wave = decode(data, AudioLimits(max_seconds=20, max_decode_s=5))
    except (BadAudio, TooLarge):
        return
    assert (wave.dtype, wave.ndim) == (np.float32, 1)
    assert len(wave)
    assert np.abs(wave).max() <= 1.0  # also false for what is not a number


@given(data=st.binary(max_size=600))
@settings(max_examples=60, deadline=None, database=None)
def test_random_bytes_are_a_wave_or_refused(data):
    wave_or_refusal(data)


@pytest.mark.parametrize("name", FUZZED)
@given(draw=st.data())
@settings(max_examples=25, deadline=None, database=None)
def test_a_damaged_recording_is_a_wave_or_refused(recordings, name, draw):
    data = bytearray(recordings[name].read_bytes()[:24_000])
    places = st.integers(0, len(data) - 1)
    headers = st.integers(0, min(len(data), 600) - 1)
    for at in draw.draw(st.lists(places | headers, max_size=20)):
        data[at] ^= draw.draw(st.integers(1, 255))
    end = draw.draw(st.none() | places)
    wave_or_refusal(bytes(data[:end]))
