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

from evaluation.audio import Audio
from evaluation.conditions import Condition, crop, hear
from evaluation.identify import make_plan
from evaluation.likelihood import calibrate, cllr, min_cllr
from evaluation.metrics import (
    bootstrap,
    equal_error_rate,
    error_rates,
    min_dcf,
    wilson_interval,
)
from evaluation.open_set import fnir_at_fpir, ranks
from evaluation.samples import confusion_table, sample_clips
from evaluation.systems import load_system, load_systems
from evaluation.trials import read_list
from tests.conftest import DATA

isotonic = pytest.importorskip("sklearn.isotonic")  # comes with librosa

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


@pytest.mark.parametrize(
    ("target", "impostor", "p_target", "cost"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.01, 0.0),  # perfect separation
        ([0.5], [0.5], 0.01, 1.0),  # a tie: nothing beats saying no
        ([0.9, 0.3], [0.5, 0.1], 0.01, 0.5),  # half missed, nobody let in
        ([0.9, 0.3], [0.5, 0.1], 0.5, 0.5),  # at even odds all that is missed, or let in
        ([0.6], [0.7, 0.1, 0.2, 0.3], 0.5, 0.25),  # one target
        ([0.6], [0.7, 0.1, 0.2, 0.3], 0.01, 1.0),  # 99 x 0.25 is dearer than missing it
    ],
)
def test_min_dcf_by_hand(
    target: list[float], impostor: list[float], p_target: float, cost: float
) -> None:
    assert min_dcf(np.array(target), np.array(impostor), p_target) == pytest.approx(cost)


@given(scores, scores, st.sampled_from([0.01, 0.05, 0.5]))
def test_min_dcf_is_the_cheapest_threshold(
    target: np.ndarray, impostor: np.ndarray, p_target: float
) -> None:
    costs = [
        p_target * np.mean(target < at) + (1 - p_target) * np.mean(impostor >= at)
        for at in [*target, *impostor, np.inf]
    ]
    cheapest = min(costs) / min(p_target, 1 - p_target)
    assert min_dcf(target, impostor, p_target) == pytest.approx(cheapest)


def test_cllr_by_hand() -> None:
    ratios = np.log([3.0, 1.0]), np.log([1.0, 0.5])
    bits = (np.log2(4 / 3) + 1.0) / 2, (1.0 + np.log2(1.5)) / 2
    assert cllr(*ratios) == pytest.approx(sum(bits) / 2)


@given(scores, scores)
def test_min_cllr_is_isotonic_regression(target: np.ndarray, impostor: np.ndarray) -> None:
    regression = isotonic.IsotonicRegression()
    both = np.concatenate([target, impostor])
    labels = np.concatenate([np.ones(target.size), np.zeros(impostor.size)])
    fitted = regression.fit_transform(both, labels)
    with np.errstate(divide="ignore"):
        ratios = np.log(fitted / (1 - fitted)) - np.log(target.size / impostor.size)
    expected = cllr(ratios[: target.size], ratios[target.size :])
    assert min_cllr(target, impostor) == pytest.approx(expected, abs=1e-6)
    assert 0.0 <= min_cllr(target, impostor) <= 1.0 + 1e-9


def test_calibration_makes_ratios_of_scores_it_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{index:02}" for index in range(20)], 50)
    # two normal distributions of one spread: the log-likelihood ratio is 2 * score - 2
    target, impostor = rng.normal(2, 1, 1_000), rng.normal(0, 1, 1_000)
    of_target, of_impostor = calibrate(0.1 * target + 5, 0.1 * impostor + 5, speakers, speakers)
    assert np.abs(of_target - (2 * target - 2)).max() < 1.0
    assert cllr(of_target, of_impostor) == pytest.approx(min_cllr(target, impostor), abs=0.03)


def test_the_bootstrap_interval_holds_the_rate() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{index}" for index in range(20)], 10)
    target, impostor = rng.normal(2, 1, 200), rng.normal(0, 1, 200)
    intervals = bootstrap(
        lambda t, i: {"eer": equal_error_rate(t, i)}, target, impostor, speakers, speakers, rng=rng
    )
    low, high = intervals["eer"]
    assert low < equal_error_rate(target, impostor) < high
    assert high - low < 0.2


def test_a_tie_counts_against_the_own_speaker() -> None:
    table = np.array([[0.9, 0.1, 0.5], [0.5, 0.5, 0.1], [0.3, 0.2, 0.1]])
    assert ranks(table, np.array([0, 1, 2])).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("fpir", "fnir"),
    [
        (0.0, 0.75),  # above the nearest stranger, 0.8, stands 0.9 alone
        (0.25, 0.5),  # 0.8 may pass; above 0.6 stand 0.9 and 0.7
        (0.5, 0.5),
        (1.0, 0.25),  # all may pass: what is left is the wrong name
    ],
)
def test_fnir_by_hand(fpir: float, fnir: float) -> None:
    mated, places = np.array([0.9, 0.7, 0.5, 0.95]), np.array([1, 1, 1, 2])
    strangers = np.array([0.8, 0.6, 0.55, 0.1])
    assert fnir_at_fpir(mated, places, strangers, fpir) == fnir


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
    assert result["min_dcf_p01"] == 0.0
    assert result["eer_percent_interval"] == [0.0, 0.0]


def write_list(folder: Path, *lines: str) -> Path:
    path = folder / "list.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_noise_and_a_codec_befall_the_probe_alone_and_always_alike() -> None:
    audio = Audio(DATA)
    name = "ast4@example.org-1.mp4"
    hard = Condition(crop_s=2.0, noise_db=5.0, codec="gsm")
    clean = hear(name, audio, Condition(crop_s=2.0), as_probe=True)
    np.testing.assert_array_equal(hear(name, audio, hard, as_probe=False), clean)
    probe = hear(name, audio, hard, as_probe=True)
    np.testing.assert_array_equal(hear(name, Audio(DATA), hard, as_probe=True), probe)
    assert probe.shape == clean.shape == (32_000,)
    noisy = hear(name, audio, Condition(crop_s=2.0, noise_db=5.0), as_probe=True)
    ratio = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
    assert ratio == pytest.approx(5.0, abs=0.01)
    assert hard.name == "2s_5db_gsm"


def test_a_seed_crops_elsewhere_than_in_the_middle() -> None:
    wave = np.arange(100_000, dtype=np.float32)
    middle, chance, again, other = (
        crop(wave, 2.0, seed, name)[0] for seed, name in ((None, "a"), (1, "a"), (1, "a"), (1, "b"))
    )
    assert middle == 34_000
    assert chance == again
    assert len({middle, chance, other}) == 3


@pytest.mark.parametrize(
    ("lines", "message"),
    [(["1 a b", "2 a b"], "trial 2"), (["1 a b"], "impostor"), (["0 a b c"], "trial 1")],
)
def test_a_bad_list_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        read_list(write_list(tmp_path, *lines))


def test_recordings_of_a_target_trial_are_of_one_speaker(tmp_path: Path) -> None:
    trials = read_list(
        write_list(
            tmp_path,
            "1 id1/x/1.wav id1/y/1.wav",
            "0 id1/y/2.wav id2/z/1.wav",
            "0 id2/z/2.wav q/1.wav",
        )
    )
    first, second, third = trials.speakers
    assert first == second != third


def test_identification_over_the_sample_set(tmp_path: Path) -> None:
    manifest = tmp_path / "who.tsv"
    # two speakers are enrolled and ask twice; a third has one recording: a stranger
    names = [f"ast{n}@example.org-{clip}.mp4" for n in (4, 5) for clip in (0, 1, 2)]
    names.append("ast6@example.org-0.mp4")
    rows = [f"{name}\t{name.partition('@')[0]}\n" for name in names]
    manifest.write_text("file\tspeaker\n" + "".join(rows))
    plan = make_plan(manifest)
    assert (len(plan.enrolled), len(plan.probes), plan.own.tolist()) == (2, 4, [0, 0, 1, 1])
    out = tmp_path / "out.json"
    done = run_evaluation(
        "identify", str(manifest), "--audio-root", str(DATA), "--crop-s", "3", "--json", str(out)
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert (found["probes"], found["strangers"]) == (4, 1)
    assert found["all"]["rank_1"] == 1.0
    assert found["all"]["fnir_at_fpir_1"] == 0.0


def test_a_peer_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"campplus needs .*teachers\.py"):
        load_system("campplus", tmp_path)
    assert [each.name for each in load_systems(["ours", "campplus"], tmp_path)] == ["ours"]
