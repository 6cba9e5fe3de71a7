"""Who spoke when, on conversations made of the sample set."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import DATA
from utils.audio import decode
from utils.calibration import Calibration, load_calibration
from utils.embedding import BEST_MODEL, Engine, load_engine
from utils.gallery import Snapshot
from utils.hearing import speech_windows
from utils.quality import find_speech, measure
from utils.scoring import centroid
from utils.segments import SegmentSettings, Turn, find_turns, to_rttm
from utils.speech import SAMPLE_RATE, SpeechDetector
from utils.turns import best_path, label_steps, make_steps, merge

STRANGER = 7
NAMES = {1: "김 민지", 2: "two", 3: "unknown-1", 4: "four", 5: "five", 6: "six"}
CLOSE_S = 0.5  # how far a boundary may be off


@dataclass(frozen=True)
class Server:
    """What answers here, without HTTP."""

    engine: Engine
    detector: SpeechDetector
    calibration: Calibration
    gallery: Snapshot

    def turns(self, wave: np.ndarray, gallery: Snapshot | None = None) -> list[Turn]:
        gallery = self.gallery if gallery is None else gallery
        level = self.calibration.level(gallery.centroids)
        return find_turns(
            wave, self.engine, self.detector, self.calibration, gallery, level=level, max_fpir=0.01
        )


@pytest.fixture(scope="module")
def server() -> Server:
    """Knows six of the sample voices; one of them is enrolled as what a stranger is called."""
    engine, detector = load_engine("onnx"), SpeechDetector()
    enrolled = {}
    for speaker, name in NAMES.items():
        wave = voice(speaker, 0)
        mask = find_speech(wave, detector)
        row = centroid(engine.embed(speech_windows(wave, mask, engine)))
        enrolled[name] = (row, measure(wave, mask).speech_s)
    calibration = load_calibration(BEST_MODEL, engine.model_id)
    return Server(engine, detector, calibration, Snapshot.empty().changed(set(), enrolled))


def voice(speaker: int, number: int) -> np.ndarray:
    return decode(DATA / f"ast{speaker}@example.org-{number}.mp4")


def conversation(
    detector: SpeechDetector, parts: list[tuple[int, int]], gap_s: float
) -> tuple[np.ndarray, list[tuple[int, float, float]]]:
    """Sample clips one after the other, and when whose speech begins and ends."""
    gap = np.zeros(round(gap_s * SAMPLE_RATE), np.float32)
    pieces, said, at = [gap], [], gap.size
    for speaker, number in parts:
        wave = voice(speaker, number)
        heard = np.flatnonzero(find_speech(wave, detector)) * 512
        wave = wave[heard[0] : heard[-1] + 512]
        said.append((speaker, at / SAMPLE_RATE, (at + wave.size) / SAMPLE_RATE))
        pieces += [wave, gap]
        at += wave.size + gap.size
    return np.concatenate(pieces), said


def spoken(turns: list[Turn]) -> list[tuple[str, float, float]]:
    """Speaker, beginning and end of what they say before the next one speaks."""
    found: list[tuple[str, float, float]] = []
    for turn in turns:
        if found and found[-1][0] == turn.speaker:
            found[-1] = (turn.speaker, found[-1][1], turn.end_s)
        else:
            found.append((turn.speaker, turn.start_s, turn.end_s))
    return found


@pytest.mark.parametrize("gap_s", [0.0, 0.4])
def test_speakers_are_named_in_order_and_a_stranger_keeps_a_number(
    server: Server, gap_s: float
) -> None:
    parts = [(1, 1), (STRANGER, 1), (3, 1), (1, 2), (STRANGER, 2)]
    wave, said = conversation(server.detector, parts, gap_s)
    turns = server.turns(wave)
    names = {**NAMES, STRANGER: "unknown-2"}  # somebody is enrolled as unknown-1
    found = spoken(turns)
    assert [speaker for speaker, _, _ in found] == [names[speaker] for speaker, _ in parts]
    for (_, start_s, end_s), (_, first_s, last_s) in zip(found, said, strict=True):
        assert start_s == pytest.approx(first_s, abs=CLOSE_S)
        assert end_s == pytest.approx(last_s, abs=CLOSE_S)
    for turn in turns:
        known = turn.speaker != "unknown-2"
        assert turn.speaker_id == (turn.speaker if known else None)
        assert turn.verdict is not None
        assert (turn.verdict.outcome == "accepted") == known


def test_strangers_are_numbered_as_they_appear(server: Server) -> None:
    wave, _ = conversation(server.detector, [(STRANGER, 3), (5, 1), (STRANGER, 4)], 0.3)
    found = spoken(server.turns(wave, Snapshot.empty()))
    assert [speaker for speaker, _, _ in found] == ["unknown-1", "unknown-2", "unknown-1"]
    assert {turn.verdict for turn in server.turns(wave, Snapshot.empty())} == {None}


@pytest.mark.parametrize("speaker", [2, 4, 6])
def test_one_voice_alone_is_one_speaker(server: Server, speaker: int) -> None:
    turns = server.turns(np.concatenate([voice(speaker, number) for number in (1, 2, 3)]))
    assert {turn.speaker for turn in turns} == {NAMES[speaker]}


def test_a_window_of_speech_is_enough_to_say_something(server: Server) -> None:
    short = voice(1, 1)[SAMPLE_RATE : round(1.6 * SAMPLE_RATE)]
    turns = server.turns(short)
    assert 1 <= len(turns) <= 2
    assert turns[-1].end_s <= 0.6


@pytest.mark.parametrize("samples", [0, 1, 3 * SAMPLE_RATE])
def test_where_nobody_speaks_there_are_no_turns(server: Server, samples: int) -> None:
    assert server.turns(np.zeros(samples, np.float32)) == []


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(
        st.tuples(st.integers(1, 7), st.floats(0.2, 2.5), st.floats(0.0, 0.5)), max_size=4
    )
)
def test_turns_are_in_order_inside_and_never_over_each_other(
    server: Server, parts: list[tuple[int, float, float]]
) -> None:
    pieces = [np.zeros(100, np.float32)]
    for speaker, part_s, gap_s in parts:
        pieces.append(voice(speaker, 5)[SAMPLE_RATE : SAMPLE_RATE + round(part_s * SAMPLE_RATE)])
        pieces.append(np.zeros(round(gap_s * SAMPLE_RATE), np.float32))
    wave = np.concatenate(pieces)
    times = [time for turn in server.turns(wave) for time in (turn.start_s, turn.end_s)]
    assert times == sorted(times)
    assert all(start < end for start, end in zip(times[::2], times[1::2], strict=True))
    assert all(0.0 <= time <= wave.size / SAMPLE_RATE for time in times)


def read_rttm(text: str) -> list[tuple[str, float, float, str]]:
    """Recording, beginning, end and speaker of each line, as any reader of RTTM splits it."""
    rows = []
    for line in text.splitlines():
        kind, recording, channel, start, length, *rest = line.split()
        assert (kind, channel, rest[:2], rest[3:]) == ("SPEAKER", "1", ["<NA>"] * 2, ["<NA>"] * 2)
        rows.append((unquote(recording), float(start), float(start) + float(length), rest[2]))
    return [(recording, start, end, unquote(name)) for recording, start, end, name in rows]


def test_rttm_brings_names_back_whatever_is_in_them() -> None:
    names = ["김 민지", "Ann  Lee", "hong@example.org", "100%", "unknown-1", "a\u2003b;c"]
    turns = [Turn(i + 0.25, i + 1.0, name, name, None) for i, name in enumerate(names)]
    rows = read_rttm(to_rttm(turns, "회의 1.mp4"))
    assert rows == [("회의 1.mp4", t.start_s, t.end_s, t.speaker) for t in turns]
    assert to_rttm(turns, "x").isascii()
    assert to_rttm([], "x") == ""


def directions(counts: list[int], rng: np.random.Generator) -> np.ndarray:
    """(sum of counts, 64) rows near one direction after another, each direction of its own."""
    centres = np.linalg.qr(rng.standard_normal((64, len(counts))))[0].T
    rows = np.repeat(centres, counts, axis=0) + 0.05 * rng.standard_normal((sum(counts), 64))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_merging_joins_what_is_alike_and_nothing_else(server: Server) -> None:
    rows = directions([3, 2, 1], np.random.default_rng(0)).astype(np.float64)
    order = [0, 3, 1, 5, 4, 2]
    groups = merge(rows[order], np.full(6, 3.0), server.calibration, 2.0)
    assert [groups.tolist().index(each) for each in groups] == [0, 1, 0, 3, 1, 0]
    apart = merge(rows, np.full(6, 3.0), server.calibration, np.inf)
    assert apart.tolist() == list(range(6))


def test_labels_follow_voices_that_change_without_a_pause(server: Server) -> None:
    counts = [20, 24, 20]
    rng = np.random.default_rng(1)
    rows = directions(counts[:2], rng)
    rows = np.concatenate([rows, rows[:20]])
    steps = make_steps(np.ones(4 * len(rows), np.bool_), SegmentSettings())
    labels = label_steps(rows, steps, server.calibration, SegmentSettings())
    assert labels.tolist() == [0] * 20 + [1] * 24 + [0] * 20


def test_a_dear_change_is_not_made() -> None:
    scores = np.array([[0.9, 0.2], [0.1, 0.8], [0.9, 0.2]])
    assert best_path(scores, np.full(3, 0.1)).tolist() == [0, 1, 0]
    assert best_path(scores, np.full(3, 0.6)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "wrong", [{"window_s": 0.0}, {"step_chunks": 0}, {"pause_s": -0.1}, {"pause_cost": 2.0}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="got"):
        SegmentSettings(**wrong)
