"""What is decided about recordings, through the real server: strangers, short clips, duplicates."""

from __future__ import annotations

import io
import wave as wave_module
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from evaluation.server import ServerProcess, running_server
from tests.conftest import DATA
from tests.media import record
from tests.test_quality import NOT_SPEECH, at_level
from utils.audio import decode
from utils.calibration import load_calibration
from utils.embedding import BEST_MODEL, load_engine
from utils.errors import NoSpeech, TooShort
from utils.gallery import FolderGallery
from utils.identification import Identifier
from utils.speaker_id import RecordingName
from utils.speech import SpeechDetector

RATE = 16_000
SPEAKERS = range(1, 7)
STRANGER = 7


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Knows six of the sample voices."""
    with running_server(tmp_path_factory.mktemp("gallery")) as server:
        for speaker in SPEAKERS:
            assert send(server, clip(speaker, 0))["decision"] == "registered"
        yield server


def clip(speaker: int, number: int) -> Path:
    return DATA / f"ast{speaker}@example.org-{number}.mp4"


def post(server: ServerProcess, recording: Path, name: str = "", **fields: str):
    with recording.open("rb") as file:
        return requests.post(
            f"{server.url}/Identification_Request",
            data=fields,
            files={"file": (name or recording.name, file)},
            timeout=60,
        )


def send(server: ServerProcess, recording: Path, name: str = "", **fields: str) -> dict:
    reply = post(server, recording, name, **fields)
    assert reply.status_code == 200, reply.text
    return reply.json()


def speakers(server: ServerProcess) -> int:
    return requests.get(f"{server.url}/readyz", timeout=10).json()["speakers"]


def test_enrolled_callers_are_accepted_and_a_stranger_is_not(server: ServerProcess) -> None:
    own = [send(server, clip(speaker, number)) for speaker in SPEAKERS for number in (1, 2)]
    accepted = [each for each in own if each["verdict"]["outcome"] == "accepted"]
    assert len(accepted) >= 9
    assert all(each["verdict"]["probability"] > 0.5 for each in accepted)
    assert all(each["verdict"]["stranger_chance"] <= 0.01 for each in accepted)
    strangers = [send(server, clip(STRANGER, number), register="False") for number in range(10)]
    assert {each["decision"] for each in strangers} == {"identified"}
    assert "accepted" not in {each["verdict"]["outcome"] for each in strangers}
    assert strangers[0]["100001"].endswith(strangers[0]["candidates"][0]["speaker_id"])


def test_an_answer_says_what_it_rests_on(server: ServerProcess) -> None:
    answer = send(server, clip(3, 4))
    assert set(answer["verdict"]) == {
        "outcome", "probability", "stranger_chance", "llr", "margin", "more_speech_s",
    }  # fmt: skip
    quality = answer["quality"]
    assert quality["speech_s"] == answer["seconds"] <= quality["total_s"]
    assert quality["two_voices"] is False
    assert answer["liveness"] == "not checked"


def test_a_short_clip_may_ask_and_may_not_enrol(server: ServerProcess, tmp_path: Path) -> None:
    wave = decode(clip(4, 3))[RATE : 3 * RATE + RATE // 4]
    short = record(tmp_path / "ast4@example.org-9.mp4", [wave], RATE)
    assert send(server, short)["speaker_id"] == "ast4@example.org"
    before = speakers(server)
    refused = post(server, short, "new@example.org-0.mp4")
    assert (refused.status_code, refused.json()["title"]) == (422, "TooShort")
    assert "send at least 3.0 s" in refused.json()["detail"]
    assert speakers(server) == before


@pytest.mark.parametrize("kind", ["silence", "noise", "tone", "hum", "clicks"])
def test_what_is_no_speech_neither_asks_nor_enrols(
    server: ServerProcess, tmp_path: Path, kind: str
) -> None:
    rng = np.random.default_rng(1)
    t = np.arange(5 * RATE) / RATE
    wave = {
        "silence": np.zeros(t.size),
        "noise": 0.3 * rng.standard_normal(t.size),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * t),
        "hum": sum(0.3 / k * np.sin(2 * np.pi * 50 * k * t) for k in (1, 2, 3, 5)),
        "clicks": np.where(np.arange(t.size) % 4_000 < 20, 0.9, 0.0),
    }[kind].astype(np.float32)
    recording = record(tmp_path / "nobody@example.org-0.mp4", [wave], RATE)
    before = speakers(server)
    for fields in ({}, {"register": "False"}):
        reply = post(server, recording, **fields)
        assert (reply.status_code, reply.json()["title"]) == (422, "NoSpeech")
    assert speakers(server) == before


def test_a_voice_under_a_second_id_is_reported(server: ServerProcess) -> None:
    answer = send(server, clip(5, 0), "again@example.org-0.mp4")
    assert answer["decision"] == "registered"
    assert answer["duplicate_of"] == "ast5@example.org"
    assert answer["verdict"] is None


def test_a_re_registration_says_if_it_is_the_voice_from_before(server: ServerProcess) -> None:
    same = send(server, clip(6, 2), "ast6@example.org-2.mp4", re_register="True")
    assert (same["decision"], same["matches_before"]) == ("re_registered", True)
    other = send(server, clip(4, 0), "ast6@example.org-3.mp4", re_register="True")
    assert (other["decision"], other["matches_before"]) == ("re_registered", False)


def test_two_voices_in_one_recording_are_not_enrolled(
    server: ServerProcess, tmp_path: Path
) -> None:
    waves = [decode(clip(1, 0)), decode(clip(3, 0))]
    both = record(tmp_path / "both@example.org-0.mp4", [np.concatenate(waves)], RATE)
    refused = post(server, both)
    assert (refused.status_code, refused.json()["title"]) == (422, "TwoVoices")
    assert send(server, both, register="False")["quality"]["two_voices"] is True


def test_a_server_may_refuse_duplicates_and_choose_its_limits(tmp_path: Path) -> None:
    flags = ("--refuse-duplicates", "--min-enrol-s", "1", "--max-fpir", "0.001")
    with running_server(tmp_path / "gallery", *flags) as server:
        send(server, clip(1, 0))
        send(server, clip(6, 1))  # 2.2 s of speech
        refused = post(server, clip(1, 0), "other@example.org-0.mp4")
        assert (refused.status_code, refused.json()["title"]) == (409, "LikelyDuplicate")
        assert speakers(server) == 2


def test_an_added_recording_joins_up_to_a_limit(tmp_path: Path) -> None:
    with running_server(tmp_path / "gallery", "--max-recordings", "2") as server:
        unknown = post(server, clip(1, 0), add="True")
        assert (unknown.status_code, unknown.json()["title"]) == (404, "NotEnrolled")
        send(server, clip(1, 0))
        send(server, clip(2, 0))
        before = send(server, clip(1, 2), register="False")
        added = send(server, clip(1, 1), add="True")
        assert (added["decision"], added["speaker_id"]) == ("recording_added", "ast1@example.org")
        assert added["matches_before"] is True
        assert send(server, clip(1, 2), register="False")["score"] > before["score"]
        again = post(server, clip(1, 1), add="True")
        assert (again.status_code, again.json()["title"]) == (409, "AlreadyEnrolled")
        full = post(server, clip(1, 3), add="True")
        assert (full.status_code, full.json()["title"]) == (409, "TooManyRecordings")
        replaced = send(server, clip(1, 4), re_register="True")
        assert replaced["decision"] == "re_registered"
        stored = (tmp_path / "gallery" / "voice_gallery").glob("ast1*.npy")
        assert [path.name for path in stored] == ["ast1%40example.org-4.npy"]


@pytest.fixture
def identifier(tmp_path: Path) -> Iterator[Identifier]:
    """Knows one of the sample voices, without a server before it."""
    engine = load_engine("onnx")
    calibration = load_calibration(BEST_MODEL, engine.model_id)
    with FolderGallery(tmp_path / "gallery", engine.model_id) as gallery:
        identifier = Identifier(engine, gallery, SpeechDetector(), calibration)
        identifier.answer(clip(1, 0), RecordingName("one", "0"))
        yield identifier


def test_of_a_hundred_clips_that_are_no_speech_none_is_answered(identifier: Identifier) -> None:
    t = np.arange(3 * RATE) / RATE
    clips = [
        at_level(NOT_SPEECH[kind](t, np.random.default_rng(seed)), dbfs).astype(np.float32)
        for seed, dbfs in enumerate((-50.0, -40.0, -30.0, -25.0, -20.0, -15.0, -10.0, -6.0, -3.0))
        for kind in NOT_SPEECH
    ]
    assert len(clips) >= 100
    for wave in clips:
        for register in (True, False):
            with pytest.raises(NoSpeech):
                identifier.answer(wav(wave), RecordingName("new", "0"), register=register)
    assert identifier.gallery.speaker_ids() == ["one"]


def test_of_a_hundred_clips_below_the_limits_none_is_answered_or_enrolled(
    identifier: Identifier,
) -> None:
    waves = [decode(clip(speaker, number)) for speaker in range(1, 8) for number in range(5)]
    rng = np.random.default_rng(4)
    for number in range(100):
        wave = waves[number % len(waves)]
        size = int(rng.uniform(0.2, 0.95) * RATE)
        start = int(rng.integers(wave.size - 3 * RATE))
        part = wav(wave[start : start + size])
        for register in (True, False):
            with pytest.raises((TooShort, NoSpeech)):
                identifier.answer(part, RecordingName("new", "0"), register=register)
        longer = wav(wave[start : start + size + 2 * RATE])
        with pytest.raises((TooShort, NoSpeech)):
            identifier.answer(longer, RecordingName("new", "0"))
    assert identifier.gallery.speaker_ids() == ["one"]


def wav(wave: np.ndarray) -> bytes:
    """A RIFF file of 16 bits, 16 kHz, mono."""
    held = io.BytesIO()
    with wave_module.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(wave * 32_767.0, -32_768, 32_767).astype("<i2").tobytes())
    return held.getvalue()
