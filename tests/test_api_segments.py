"""Who spoke when, over HTTP, in a conversation made of the sample voices."""

from __future__ import annotations

import io
from collections.abc import Iterator
from urllib.parse import unquote

import numpy as np
import pytest
from flask.testing import FlaskClient

from tests import media
from tests.api import STRANGER, clip, in_base64, name, refused, six_voices
from utils.audio import decode

RATE = 16_000
CLOSE_S = 0.5  # how far a boundary may be off


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    with six_voices(tmp_path_factory.mktemp("gallery")) as client:
        yield client


def conversation(*speakers: int) -> bytes:
    """4 s of each, one after the other, as a WAV file."""
    wave = np.concatenate([decode(clip(speaker, 1))[: 4 * RATE] for speaker in speakers])
    return media.wav((32_767 * wave).astype(np.int16)[:, None], RATE)


def test_turns_have_names_and_strangers_numbers(client: FlaskClient) -> None:
    audio = (io.BytesIO(conversation(4, STRANGER, 3)), "call.wav")
    answer = client.post("/v1/segments", data={"audio": audio}).json
    assert answer is not None
    assert answer["duration_s"] == 12.0
    turns = answer["turns"]
    assert [turn["speaker"] for turn in turns] == [name(4), "unknown-1", name(3)]
    assert [turn["speaker_id"] for turn in turns] == [name(4), None, name(3)]
    assert turns[0]["verdict"]["outcome"] == "accepted"
    for turn, start_s in zip(turns, (0.0, 4.0, 8.0), strict=True):
        assert turn["start_s"] == pytest.approx(start_s, abs=CLOSE_S)
        assert turn["end_s"] == pytest.approx(start_s + 4.0, abs=CLOSE_S)


def test_the_same_as_rttm(client: FlaskClient) -> None:
    audio = (io.BytesIO(conversation(3, 5)), "통화 7.wav")
    reply = client.post("/v1/segments?format=rttm", data={"audio": audio})
    assert reply.mimetype == "text/plain"
    lines = [line.split(" ") for line in reply.text.splitlines()]
    assert [unquote(line[7]) for line in lines] == [name(3), name(5)]
    assert {unquote(line[1]) for line in lines} == {"통화 7"}


def test_without_speech_there_are_no_turns(client: FlaskClient) -> None:
    silence = media.wav(np.zeros((2 * RATE, 1), np.int16), RATE)
    answer = client.post("/v1/segments", data={"audio": (io.BytesIO(silence), "a.wav")}).json
    assert answer is not None
    assert (answer["turns"], answer["duration_s"]) == ([], 2.0)


def test_what_cannot_be_asked(client: FlaskClient) -> None:
    asked = {"audio": in_base64(clip(1, 1))}
    status, title, detail = refused(client.post("/v1/segments?format=xml", json=asked))
    assert (status, title) == (400, "BadField")
    assert "'format'" in detail
    assert refused(client.post("/v1/segments", json={}))[:2] == (400, "BadField")
    assert refused(client.post("/v1/segments", json={"audio": "AAAA"}))[:2] == (422, "NotDecodable")
