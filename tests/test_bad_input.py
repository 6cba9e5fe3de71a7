"""Bad input, through the real server: each a 4xx with a sentence, and nothing changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import requests

from evaluation.server import ServerProcess, running_server
from tests.conftest import DATA
from tests.media import record, silent_video

MAX_MB = 4
KNOWN = DATA / "ast4@example.org-0.mp4"


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, uploads: Path) -> Iterator[ServerProcess]:
    gallery = tmp_path_factory.mktemp("gallery")
    with running_server(gallery, "--upload-root", str(uploads), "--max-mb", str(MAX_MB)) as server:
        (uploads / KNOWN.name).write_bytes(KNOWN.read_bytes())
        assert ask(server, uploads, KNOWN.name).status_code == 200
        yield server


def ask(server: ServerProcess, folder: Path | str, name: str, **fields: str) -> requests.Response:
    data = {"name": name, "path_dir": str(folder), **fields}
    return requests.post(f"{server.url}/Identification_Request", data=data, timeout=60)


def refused(reply: requests.Response, server: ServerProcess) -> tuple[int, str, str]:
    """Checks an error's shape, and that only the known speaker is enrolled."""
    problem = reply.json()
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == reply.status_code
    assert problem["detail"].endswith(".")
    ready = requests.get(f"{server.url}/readyz", timeout=5).json()
    assert ready["speakers"] == 1, "a refused request has changed the gallery"
    return reply.status_code, problem["title"], problem["detail"]


@pytest.mark.parametrize(
    ("name", "title", "sentence"),
    [
        ("nodash.mp4", "BadField", "no '-'"),
        ("-0.mp4", "BadSpeakerId", "empty"),
        ("a/b-0.mp4", "BadSpeakerId", "leave out '/'"),
        ("../../etc/passwd-0.mp4", "BadSpeakerId", "leave out '/'"),
        ("a\\b-0.mp4", "BadSpeakerId", "leave out '/'"),
        ("..-0.mp4", "BadSpeakerId", "choose another"),
        ("a\0b-0.mp4", "BadSpeakerId", "U+0000"),
        ("a" * 300 + "-0.mp4", "BadSpeakerId", "at most 128"),
        ("hong@example.org-x.mp4", "BadField", "number"),
        ("hong@example.org-0.exe", "BadField", "<speaker ID>-<number>.mp4"),
        ("", "BadField", "name is missing"),
    ],
)
def test_a_bad_name(
    server: ServerProcess, uploads: Path, name: str, title: str, sentence: str
) -> None:
    status, found, detail = refused(ask(server, uploads, name), server)
    assert (status, found) == (400, title)
    assert sentence in detail


def post(server: ServerProcess, **options: object) -> requests.Response:
    return requests.post(f"{server.url}/Identification_Request", timeout=60, **options)


def test_missing_fields(server: ServerProcess) -> None:
    no_name = refused(post(server, data={"path_dir": "data"}), server)
    no_folder = refused(post(server, data={"name": "new@example.org-0.mp4"}), server)
    assert no_name[:2] == no_folder[:2] == (400, "BadField")
    assert "name is missing" in no_name[2]
    assert "path_dir is missing" in no_folder[2]


@pytest.mark.parametrize("body", [b"", b"\x00\xff" * 100, b"name=x"])
def test_a_body_that_is_no_form(server: ServerProcess, body: bytes) -> None:
    reply = post(server, data=body, headers={"Content-Type": "text/plain"})
    assert refused(reply, server)[:2] == (400, "BadField")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{not json", "application/json"),
        (b"[1, 2]", "application/json"),
        (b'{"name": 5, "path_dir": "data"}', "application/json"),
        (b"no boundary in here", "multipart/form-data"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
    ],
)
def test_a_broken_body(server: ServerProcess, body: bytes, content_type: str) -> None:
    reply = post(server, data=body, headers={"Content-Type": content_type})
    assert refused(reply, server)[:2] == (400, "BadField")


@pytest.mark.parametrize("field", ["re_register", "register"])
def test_a_flag_without_meaning(server: ServerProcess, uploads: Path, field: str) -> None:
    reply = ask(server, uploads, KNOWN.name, **{field: "perhaps"})
    status, title, detail = refused(reply, server)
    assert (status, title) == (400, "BadField")
    assert f"'{field}'" in detail


def test_a_missing_file(server: ServerProcess, uploads: Path) -> None:
    reply = ask(server, uploads, "nobody@example.org-0.mp4")
    assert refused(reply, server)[:2] == (404, "RecordingNotFound")


def test_a_folder_outside_the_roots(server: ServerProcess, uploads: Path, tmp_path: Path) -> None:
    outside = tmp_path / "new@example.org-0.mp4"
    outside.write_bytes(KNOWN.read_bytes())
    (uploads / "door").symlink_to(tmp_path)
    (uploads / "link@example.org-0.mp4").symlink_to(outside)
    ways = [
        (tmp_path, outside.name),
        (uploads / "door", outside.name),
        (uploads / ".." / tmp_path.name, outside.name),
        (uploads, "link@example.org-0.mp4"),
        ("/proc/self/root", outside.name),
    ]
    for folder, name in ways:
        assert refused(ask(server, folder, name), server)[:2] == (403, "OutsideUploadRoots")


def test_a_path_that_is_none(server: ServerProcess, uploads: Path) -> None:
    for folder in (f"{uploads}\0", "x" * 5_000):
        assert refused(ask(server, folder, "new@example.org-0.mp4"), server)[0] in (400, 403)


def test_a_pipe_and_a_folder_are_no_recordings(server: ServerProcess, uploads: Path) -> None:
    os.mkfifo(uploads / "pipe@example.org-0.mp4")
    (uploads / "folder@example.org-0.mp4").mkdir()
    for name in ("pipe@example.org-0.mp4", "folder@example.org-0.mp4"):
        assert refused(ask(server, uploads, name), server)[:2] == (404, "RecordingNotFound")


def speech(seconds: float) -> np.ndarray:
    """So much of a sample voice at 44.1 kHz, from where it speaks."""
    with av.open(str(KNOWN)) as container:
        resampler = av.AudioResampler("fltp", "mono", 44_100)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    wave = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    start = int(np.argmax(np.abs(wave)))
    return wave[start : start + round(seconds * 44_100)]


def ten_hours(path: Path) -> Path:
    """A packet of AAC silence written again and again for 36,000 s, and no duration declared."""
    rate = 8_000
    options = {"movflags": "empty_moov", "frag_duration": "60000000"}
    with av.open(str(path), "w", options=options) as container:
        track = container.add_stream("aac", rate=rate, layout="mono")
        packets = []
        for number in range(6):  # the first ones are the encoder's warm-up
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = rate, number * 1024
            packets += track.encode(frame)
        content = bytes(packets[-1])
        for number in range(36_000 * rate // 1024):
            packet = av.Packet(content)
            packet.stream, packet.time_base = track, Fraction(1, rate)
            packet.pts = packet.dts = number * 1024
            packet.duration = 1024
            container.mux(packet)
    return path


def test_recordings_without_a_voice(server: ServerProcess, uploads: Path) -> None:
    rate = 44_100
    second = np.zeros(rate, np.float32)
    whole = KNOWN.read_bytes()
    (uploads / "text@example.org-0.mp4").write_text("This is no recording.\n")
    (uploads / "playlist@example.org-0.mp4").write_text(
        f"ffconcat version 1.0\nfile '{KNOWN.resolve()}'\n"
    )
    (uploads / "m3u@example.org-0.mp4").write_text(
        f"#EXTM3U\n#EXTINF:5,\nfile://{KNOWN.resolve()}\n#EXT-X-ENDLIST\n"
    )
    indexed_last = record(uploads / "cut@example.org-0.mp4", [speech(3.0)], rate)
    indexed_last.write_bytes(indexed_last.read_bytes()[: indexed_last.stat().st_size // 2])
    silent_video(uploads / "mute@example.org-0.mp4")
    record(uploads / "silence@example.org-0.mp4", [np.tile(second, 4)], rate)
    record(uploads / "blink@example.org-0.mp4", [speech(0.3)], rate)
    record(
        uploads / "lost@example.org-0.mp4",
        [np.concatenate([second, speech(0.3), second, second])],
        rate,
    )
    (uploads / "large@example.org-0.mp4").write_bytes(whole + bytes(MAX_MB << 20))
    ten_hours(uploads / "hours@example.org-0.mp4")
    expected = {
        "text": (422, "NotDecodable"),
        "playlist": (422, "NotDecodable"),
        "m3u": (422, "NotDecodable"),
        "cut": (422, "NotDecodable"),
        "mute": (422, "NoAudioTrack"),
        "silence": (422, "NoSpeech"),
        "blink": (422, "TooShort"),
        "lost": (422, "TooShort"),
        "large": (413, "TooLarge"),
        "hours": (422, "TooLong"),
    }
    found = {}
    for speaker in expected:
        name = f"{speaker}@example.org-0.mp4"
        found[speaker] = refused(ask(server, uploads, name), server)[:2]
        content = (uploads / name).read_bytes()
        by_upload = refused(post(server, files={"file": (name, content)}), server)[:2]
        assert by_upload == found[speaker], f"{speaker}: by upload as by path"
    assert found == expected


def test_too_short_says_how_long_to_speak(server: ServerProcess, uploads: Path) -> None:
    record(uploads / "word@example.org-0.mp4", [speech(0.3)], 44_100)
    detail = refused(ask(server, uploads, "word@example.org-0.mp4"), server)[2]
    assert "send at least 1.0 s" in detail


def test_an_upload_far_over_the_limit_is_not_read(server: ServerProcess) -> None:
    content = bytes((MAX_MB + 3) << 20)
    reply = post(server, files={"file": ("new@example.org-0.mp4", content)})
    assert refused(reply, server)[:2] == (413, "TooLarge")


def test_an_mp4_cut_in_half_is_answered_if_enough_is_left(
    server: ServerProcess, uploads: Path
) -> None:
    whole = uploads / "whole@example.org-0.mp4"
    options = {"movflags": "faststart"}
    record(whole, [np.tile(speech(3.0), 2)], 44_100, video_codec="libx264", options=options)
    content = whole.read_bytes()
    (uploads / "ast4@example.org-5.mp4").write_bytes(content[: len(content) // 2])
    reply = ask(server, uploads, "ast4@example.org-5.mp4", register="False")
    assert reply.status_code == 200, reply.text
    assert 1.0 <= reply.json()["seconds"] < 4.0


def test_other_paths_and_methods_have_the_same_shape(server: ServerProcess) -> None:
    nowhere = requests.get(f"{server.url}/nowhere", timeout=5)
    assert refused(nowhere, server)[0] == 404
    wrong_method = requests.get(f"{server.url}/Identification_Request", timeout=5)
    assert refused(wrong_method, server)[0] == 405
    assert "POST" in wrong_method.headers["Allow"]
