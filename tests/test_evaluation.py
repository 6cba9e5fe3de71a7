"""Metrics against hand-worked cases and brute force; the sample set's bar; trial lists."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import bootstrap_eer, equal_error_rate, error_rates, wilson_interval
from evaluation.samples import confusion_table, sample_clips
from tests.conftest import DATA

ROOT = Path(__file__).parent.parent

# few different values, so that ties are common
scores = st.lists(st.integers(-5, 5), min_size=1, max_size=25).map(
    lambda values: np.array(values, np.float64)
)


@pytest.mark.parametrize(
    ("target", "impostor", "eer"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),  # perfect separation
        ([0.1, 0.2], [0.9, 0.8], 1.0),  # the wrong way round
        ([0.5], [0.5], 0.5),  # one tie: nothing tells the two apart
        ([0.5] * 5, [0.5] * 5, 0.5),
        ([0.9, 0.3], [0.5, 0.1], 0.5),
        ([0.9, 0.8, 0.7, 0.3], [0.5, 0.2, 0.1, 0.0], 0.25),
        ([0.6], [0.7, 0.1, 0.2, 0.3], 0.25),  # one target
    ],
)
def test_eer_by_hand(target: list[float], impostor: list[float], eer: float) -> None:
    assert equal_error_rate(np.array(target), np.array(impostor)) == pytest.approx(eer)


@given(scores, scores)
def test_rates_equal_counting(target: np.ndarray, impostor: np.ndarray) -> None:
    for threshold, miss, false_alarm in zip(*error_rates(target, impostor), strict=True):
        assert miss == pytest.approx(sum(score < threshold for score in target) / len(target))
        assert false_alarm == pytest.approx(
            sum(score >= threshold for score in impostor) / len(impostor)
        )


@given(scores, scores)
def test_eer_lies_where_the_rates_cross(target: np.ndarray, impostor: np.ndarray) -> None:
    eer = equal_error_rate(target, impostor)
    _, misses, false_alarms = error_rates(target, impostor)
    assert np.maximum(misses, false_alarms).min() >= eer - 1e-12
    assert np.minimum(misses, false_alarms).max() <= eer + 1e-12


@given(scores, scores, st.randoms())
def test_eer_does_not_depend_on_the_order_of_trials(target, impostor, random) -> None:
    shuffled = list(target)
    random.shuffle(shuffled)
    assert equal_error_rate(np.array(shuffled), impostor) == equal_error_rate(target, impostor)


@given(scores, scores)
def test_eer_only_depends_on_the_order_of_scores(target: np.ndarray, impostor: np.ndarray) -> None:
    bent = equal_error_rate(np.exp(target), np.exp(impostor))
    assert bent == pytest.approx(equal_error_rate(target, impostor))


def test_eer_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="got 0 and 1"):
        equal_error_rate(np.array([]), np.array([1.0]))


def test_the_bootstrap_interval_holds_the_rate() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{index}" for index in range(20)], 10)
    target, impostor = rng.normal(2, 1, 200), rng.normal(0, 1, 200)
    low, high = bootstrap_eer(target, impostor, speakers, speakers, rng=rng, draws=200)
    assert low < equal_error_rate(target, impostor) < high
    assert high - low < 0.2


def test_wilson_interval_against_its_published_form() -> None:
    low, high = wilson_interval(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-3), pytest.approx(0.9433, abs=1e-3))


def test_clips_that_enrol_come_first() -> None:
    clips = sample_clips()
    assert [clip.name for clip in clips[:7]] == [f"ast{n}@example.org-0.mp4" for n in range(1, 8)]
    assert len(set(clips)) == 70


def test_the_confusion_table_shows_who_was_taken_for_whom() -> None:
    table = confusion_table({"a@x": {"a@x": 8, "b@x": 1}, "b@x": {"a@x": 0, "b@x": 9}})
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["a@x", "8", "1"],
        ["b@x", "0", "9"],
    ]


def run_evaluation(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evaluation", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)


def test_the_sample_set_reaches_its_bar(tmp_path: Path) -> None:
    done = run_evaluation("samples", "--json", str(tmp_path / "samples.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "samples.json").read_text())
    assert (result["probes"], done.stdout.splitlines()[-1]) == (
        63,
        f"identified {result['identified']} of 63",
    )
    assert result["identified"] >= 62


@pytest.mark.parametrize("zipped", [False, True])
def test_a_trial_list_over_a_folder_or_shards(tmp_path: Path, zipped: bool) -> None:
    root = tmp_path / "audio"
    root.mkdir()
    names = [f"ast{speaker}@example.org-{n}.mp4" for speaker in (4, 5) for n in (0, 1)]
    if zipped:
        with zipfile.ZipFile(root / "part.zip", "w") as shard:
            for name in names:
                shard.write(DATA / name, f"voices/{name}")
    else:
        (root / "voices").symlink_to(DATA)
    a0, a1, b0, b1 = (f"voices/{name}" for name in names)
    trials = tmp_path / "list.txt"
    trials.write_text(f"1 {a0} {a1}\n1 {b0} {b1}\n0 {a0} {b1}\n0 {b0} {a1}\n")
    out = tmp_path / "out.json"
    done = run_evaluation(
        "trials", str(trials), "--audio-root", str(root), "--crop-s", "2", "--json", str(out)
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())["lists"]["list"]
    assert (result["targets"], result["impostors"]) == (2, 2)
    assert result["eer_percent"] == 0.0
