"""The error rates of "who spoke when", on cases worked out by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.diarisation import Errors, Span, count_errors
from evaluation.segments import DOCS, REPORT, markdown
from utils.embedding import BEST_MODEL

ANN = Span(0.0, 4.0, "ann", True)
STRANGER = Span(5.0, 9.0, "bob", False)


def test_a_right_answer_has_no_error_whatever_the_unknown_one_is_called() -> None:
    answer = [ANN, Span(5.0, 9.0, "unknown-7", False)]
    assert count_errors([ANN, STRANGER], answer, collar_s=0.0) == Errors(8.0)


def test_missed_speech_and_false_alarms_are_counted_in_seconds() -> None:
    answer = [Span(1.0, 4.5, "ann", True), Span(5.0, 9.0, "unknown-1", False)]
    errors = count_errors([ANN, STRANGER], answer, collar_s=0.0)
    assert errors == Errors(8.0, miss=1.0, false_alarm=0.5)
    assert errors.shares()["identification_error"] == errors.shares()["der"] == 1.5 / 8.0


def test_the_collar_leaves_out_what_is_near_a_boundary() -> None:
    answer = [Span(0.2, 4.2, "ann", True), Span(5.5, 9.0, "unknown-1", False)]
    errors = count_errors([ANN, STRANGER], answer, collar_s=0.25)
    assert errors.speech == pytest.approx(8.0 - 4 * 0.25)
    assert errors.miss == pytest.approx(0.25)  # of the half second, what is beyond the collar
    assert errors.false_alarm == 0.0


@pytest.mark.parametrize(("label", "is_enrolled"), [("unknown-1", False), ("eve", True)])
def test_an_enrolled_speaker_under_another_name_is_no_diarisation_error(
    label: str, is_enrolled: bool
) -> None:
    errors = count_errors([ANN], [Span(0.0, 4.0, label, is_enrolled)], collar_s=0.0)
    assert errors == Errors(4.0, enrolled=4.0)
    assert errors.shares()["der"] == 0.0


def test_an_unknown_speaker_under_an_id_is_confused() -> None:
    errors = count_errors([STRANGER], [Span(5.0, 9.0, "bob", True)], collar_s=0.0)
    assert errors == Errors(4.0, unknown=4.0)


def test_numbers_of_unknown_speakers_are_mapped_one_to_one() -> None:
    reference = [Span(0.0, 3.0, "x", False), Span(3.0, 5.0, "y", False), Span(5.0, 9.0, "x", False)]
    one_label = [Span(0.0, 9.0, "unknown", False)]
    assert count_errors(reference, one_label, collar_s=0.0) == Errors(
        9.0, unknown=2.0, confusion=2.0
    )
    split = [Span(0.0, 5.0, "unknown-1", False), Span(5.0, 9.0, "unknown-2", False)]
    # the best pairs are (y, unknown-1) and (x, unknown-2): 2 s + 4 s; or x with unknown-1: 3 s
    assert count_errors(reference, split, collar_s=0.0) == Errors(9.0, unknown=3.0, confusion=3.0)


def test_an_unknown_number_is_never_mapped_to_an_enrolled_speaker() -> None:
    reference = [ANN, STRANGER]
    answer = [Span(0.0, 4.0, "unknown-1", False), Span(5.0, 9.0, "unknown-1", False)]
    errors = count_errors(reference, answer, collar_s=0.0)
    assert errors == Errors(8.0, enrolled=4.0, confusion=4.0)


def test_nothing_answered_is_all_missed_and_nothing_said_is_all_false_alarm() -> None:
    assert count_errors([ANN], [], collar_s=0.0) == Errors(4.0, miss=4.0)
    assert count_errors([], [ANN], collar_s=0.0) == Errors(0.0, false_alarm=4.0)


def test_errors_of_recordings_add_up() -> None:
    total = Errors(4.0, miss=1.0) + Errors(6.0, miss=1.0, unknown=2.0)
    assert total == Errors(10.0, miss=2.0, unknown=2.0)
    assert total.shares()["identification_error"] == pytest.approx(0.4)


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    """Up to six in order, on a grid of quarters of a second, none over another."""
    times = sorted(draw(st.sets(st.integers(0, 80), max_size=12)))
    labels = st.sampled_from([("ann", True), ("bob", True), ("x", False), ("y", False)])
    return [
        Span(start / 4.0, end / 4.0, *draw(labels))
        for start, end in zip(times[::2], times[1::2], strict=False)
    ]


@given(spans(), spans())
def test_nothing_is_counted_twice(reference: list[Span], answer: list[Span]) -> None:
    errors = count_errors(reference, answer, collar_s=0.0)
    said = sum(each.end_s - each.start_s for each in reference)
    heard = sum(each.end_s - each.start_s for each in answer)
    assert errors.speech == pytest.approx(said)
    assert errors.miss + errors.enrolled + errors.unknown <= errors.speech + 1e-9
    assert errors.confusion <= errors.enrolled + errors.unknown + 1e-9  # DER maps more freely
    assert said - errors.miss == pytest.approx(heard - errors.false_alarm)


@given(spans())
def test_the_reference_itself_is_right(reference: list[Span]) -> None:
    errors = count_errors(reference, reference)
    assert errors == Errors(errors.speech)


def test_the_figures_shown_are_those_measured() -> None:
    document = json.loads(REPORT.read_text(encoding="utf-8"))
    assert markdown(document) in DOCS.read_text(encoding="utf-8")
    model = json.loads((BEST_MODEL / "model.json").read_text(encoding="utf-8"))
    assert document["model_id"] == model["model_id"]
