"""Metrics against hand-worked cases and brute force; the sample set's bar; trial lists."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import wave
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import report
from evaluation.audio import Audio
from evaluation.bootstrap import bootstrap, draw
from evaluation.conditions import Condition, crop, hear
from evaluation.identify import Plan, det_curves, figures, make_plan
from evaluation.likelihood import calibrate, cllr, least_cllr, min_cllr
from evaluation.metrics import (
    Steps,
    crossing,
    equal_error_rate,
    error_rates,
    min_dcf,
    rates,
    wilson_interval,
)
from evaluation.open_set import fnir_at_fpir, ranks
from evaluation.samples import confusion_table, sample_clips
from evaluation.systems import load_system, load_systems
from evaluation.trials import read_list
from tests.conftest import DATA
from utils.audio import decode

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


@given(scores, scores, st.data())
def test_a_weight_is_that_many_trials(target: np.ndarray, impostor: np.ndarray, data) -> None:
    weights = [
        np.array(data.draw(st.lists(st.integers(0, 3), min_size=each.size, max_size=each.size)))
        for each in (target, impostor)
    ]
    for weight in weights:
        weight[0] += 1  # someone is left
    repeated = [np.repeat(each, n) for each, n in zip((target, impostor), weights, strict=True)]
    masses = Steps(target, impostor).masses(*weights)
    assert crossing(*rates(*masses)) == pytest.approx(equal_error_rate(*repeated))
    assert least_cllr(*masses) == pytest.approx(min_cllr(*repeated))
    assert cllr(target, impostor, *weights) == pytest.approx(cllr(*repeated))


def test_the_bootstrap_interval_holds_the_rate() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{index:02}" for index in range(20)], 10)
    pairs = np.stack([speakers, np.roll(speakers, 10)], axis=1)
    steps = Steps(rng.normal(2, 1, 200), rng.normal(0, 1, 200))
    intervals = bootstrap(
        lambda *weights: {"eer": crossing(*rates(*steps.masses(*weights)))},
        speakers, pairs, rng=rng,
    )  # fmt: skip
    low, high = intervals["eer"]
    assert low < crossing(*rates(*steps.masses())) < high
    assert high - low < 0.2


def test_a_speaker_is_drawn_with_all_trials_of_both_sides() -> None:
    seen: list[tuple[list[float], list[float]]] = []

    def note(targets: np.ndarray, impostors: np.ndarray) -> dict[str, float]:
        seen.append((targets.tolist(), impostors.tolist()))
        return {"nothing": 0.0}

    pairs = np.array([["a", "b"], ["a", "c"], ["b", "c"]])
    bootstrap(note, np.array(["a", "b", "c"]), pairs, rng=np.random.default_rng(0), draws=50)
    assert 20 < len(seen) <= 50  # one speaker three times leaves no impostor
    for (a, b, c), impostors in seen:
        assert a + b + c == 3
        assert impostors == [a * b, a * c, b * c]


def test_as_many_speakers_are_drawn_as_there_are() -> None:
    times = draw(5, 1_000, np.random.default_rng(0))
    assert times.sum(axis=1).tolist() == [5] * 1_000
    assert times.mean(axis=0) == pytest.approx(np.ones(5), abs=0.1)


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


@given(scores, scores, st.sampled_from([0.0, 0.1, 0.25, 0.5]))
def test_fnir_is_the_least_of_all_thresholds(
    mated: np.ndarray, strangers: np.ndarray, fpir: float
) -> None:
    places = 1 + (np.arange(mated.size) % 3 == 2)
    above = [*mated, *strangers, np.inf]
    misses = [
        np.mean((places > 1) | (mated < at)) for at in above if np.mean(strangers >= at) <= fpir
    ]
    assert fnir_at_fpir(mated, places, strangers, fpir) == pytest.approx(min(misses))


def test_fnir_of_weights_is_that_of_repeated_probes() -> None:
    mated, places = np.array([0.9, 0.7, 0.5, 0.95]), np.array([1, 1, 1, 2])
    strangers = np.array([0.6, 0.8, 0.1, 0.55])
    weights = (
        np.array([[1, 1, 1, 1], [2, 0, 1, 3], [0, 0, 2, 1]]),
        np.array([[1, 1, 1, 1], [3, 0, 1, 0], [0, 2, 2, 0]]),
    )
    found = fnir_at_fpir(mated, places, strangers, 0.5, *weights)
    for rate, of_mated, of_strangers in zip(found, *weights, strict=True):
        repeated = np.repeat(mated, of_mated), np.repeat(places, of_mated)
        assert rate == fnir_at_fpir(*repeated, np.repeat(strangers, of_strangers), 0.5)


@pytest.mark.parametrize(("n_mated", "n_strangers"), [(0, 1), (1, 0)])
def test_fnir_of_nobody_is_none(n_mated: int, n_strangers: int) -> None:
    weights = np.full(2, float(n_mated)), np.full(3, float(n_strangers))
    mated, strangers = np.array([0.9, 0.7]), np.array([0.6, 0.8, 0.1])
    assert np.isnan(fnir_at_fpir(mated, np.array([1, 1]), strangers, 0.5, *weights))


def test_identification_over_drawn_galleries() -> None:
    """Twelve speakers: six are always found, the others' probes are nearest to the first one."""
    names = [f"s{index}" for index in range(12)]
    plan = Plan(names, names, np.arange(12), ["t0", "t1"])
    table = np.full((14, 12), 0.1)
    table[np.arange(6), np.arange(6)] = 0.9
    table[6:12, 0] = 0.8
    table[np.arange(6, 12), np.arange(6, 12)] = 0.5
    found = figures(table, plan)
    assert [found[size]["speakers"] for size in ("10", "all")] == [10, 12]
    assert found["all"]["rank_1"] == 0.5
    assert found["all"]["rank_5"] == 1.0
    assert found["all"]["fnir_at_fpir_1"] == 0.5
    for name in ("rank_1", "fnir_at_fpir_1", "fnir_at_fpir_01"):
        low, high = found["all"][f"{name}_interval"]
        assert 0.1 < low < 0.5 < high < 0.9
    assert found["all"]["rank_5_interval"] == [1.0, 1.0]
    # where the first one is left out, the six have nobody else near them
    assert found["10"]["rank_1"] > 0.5
    fpirs, fnirs = det_curves(table, plan)["all"]
    assert (fpirs[0], fpirs[-1]) == (0.5, 0.5)
    assert set(fnirs) == {0.5}


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
    names = [f"ast{speaker}@example.org-{n}.mp4" for speaker in (4, 5, 6) for n in (0, 1)]
    if zipped:
        with zipfile.ZipFile(root / "part.zip", "w") as shard:
            for name in names:
                shard.write(DATA / name, f"voices/{name}")
    else:
        (root / "voices").symlink_to(DATA)
    trials = write_pairs(tmp_path, [f"voices/{name}" for name in names])
    out = tmp_path / "new" / "out.json"
    done = run_evaluation(
        "trials", str(trials), "--audio-root", str(root), "--crop-s", "2", "--json", str(out),
        "--det", str(tmp_path / "det.png"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert (result["targets"], result["impostors"]) == (3, 12)
    assert result["eer_percent"] == 0.0
    assert result["min_dcf_p01"] == 0.0
    assert result["eer_percent_interval"] == [0.0, 0.0]
    assert 0.0 <= result["min_cllr"] <= result["cllr"] < 0.5
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")


def test_a_flat_folder_of_wav_files(tmp_path: Path) -> None:
    """Names tell nothing of the speakers here: the list's own target trials do."""
    names = []
    for speaker in (1, 4, 5, 6):
        for n in (0, 1):
            names.append(f"{speaker}{n}.wav")
            sound = decode(DATA / f"ast{speaker}@example.org-{n}.mp4")
            write_wav(tmp_path / names[-1], sound)
    trials = read_list(write_pairs(tmp_path, names))
    assert len(np.unique(trials.speakers)) == 4
    assert Audio(tmp_path).names == names  # not the list, which lies beside them
    out = tmp_path / "out.json"
    done = run_evaluation(
        "trials", str(tmp_path / "list.txt"), "--audio-root", str(tmp_path), "--crop-s", "1",
        "--noise-db", "-5", "--codec", "amr-like", "--json", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    low, high = result["eer_percent_interval"]
    assert low < high
    assert result["cllr"] is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trials", "LIST"], "b.wav: There is no such recording"),
        (["trials", "nowhere.txt"], "nowhere.txt: No such file"),
        (["trials", "LIST", "--audio-root", "nowhere"], "nowhere: there is no such folder"),
        (["trials", "LIST", "--crop-s", "0"], "more than 0 seconds"),
        (["trials", "LIST", "--noise-db", "nan"], "a noise ratio must be a number"),
        (["trials", "LIST", "--crop-s", "1", "--crop-seed", "-1"], "a seed must be 0 or more"),
        (["trials", "LIST", "LIST"], "two lists have the same"),
        (["trials", "a.wav"], "a.wav: not a text"),
        (["identify", "LIST"], "no column file, speaker"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_list(tmp_path, "1 a.wav b.wav", "0 a.wav c.wav")
    write_wav(tmp_path / "a.wav", np.full(16_000, 0.1, np.float32))
    there = {"LIST": str(tmp_path / "list.txt"), "a.wav": str(tmp_path / "a.wav")}
    filled = [there.get(each, each) for each in arguments]
    done = run_evaluation(filled[0], "--audio-root", str(tmp_path), *filled[1:])
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def write_wav(path: Path, waveform: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((waveform * 32_767).astype("<i2").tobytes())


def write_pairs(folder: Path, names: list[str]) -> Path:
    """All pairs of recordings; neighbours 0 and 1, 2 and 3, ... are of one speaker."""
    pairs = itertools.combinations(range(len(names)), 2)
    lines = [f"{int(i // 2 == j // 2)} {names[i]} {names[j]}" for i, j in pairs]
    return write_list(folder, *lines)


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
    waveform = np.arange(100_000, dtype=np.float32)
    middle, chance, again, other = (
        crop(waveform, 2.0, seed, name)[0]
        for seed, name in ((None, "a"), (1, "a"), (1, "a"), (1, "b"))
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
    (first, again), (second, other), (third, _) = trials.speakers
    assert first == again == second
    assert second != other == third


def test_folders_of_many_speakers_tell_none(tmp_path: Path) -> None:
    trials = read_list(
        write_list(
            tmp_path,
            "1 enrol/a.wav probe/a.wav",
            "1 enrol/b.wav probe/b.wav",
            "0 enrol/a.wav probe/b.wav",
        )
    )
    (a, again), (b, again_b), (first, second) = trials.speakers
    assert a == again == first
    assert b == again_b == second
    assert a != b


def write_manifest(path: Path, recordings: Sequence[str]) -> Path:
    """Of sample recordings, whose names say the speaker; their source is `cv_cross`."""
    rows = [f"{name}\t{Path(name).name.partition('@')[0]}\tcv_cross\n" for name in recordings]
    path.write_text("file\tspeaker\tsource\n" + "".join(rows))
    return path


# two speakers are enrolled and ask twice; the two others have one recording: strangers
TWO_AND_TWO_STRANGERS = [
    *(f"ast{n}@example.org-{clip}.mp4" for n in (4, 5) for clip in (0, 1, 2)),
    *(f"ast{n}@example.org-0.mp4" for n in (1, 6)),
]


def test_identification_over_the_sample_set(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "who.tsv", TWO_AND_TWO_STRANGERS)
    plan = make_plan(manifest)
    assert (len(plan.enrolled), len(plan.probes), plan.own.tolist()) == (2, 4, [0, 0, 1, 1])
    out, det = tmp_path / "out.json", tmp_path / "new" / "det.png"
    done = run_evaluation(
        "identify", str(manifest), "--audio-root", str(DATA), "--crop-s", "3", "--json", str(out),
        "--det", str(det),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert (found["probes"], found["strangers"]) == (4, 2)
    assert found["all"]["rank_1"] == 1.0
    assert found["all"]["fnir_at_fpir_1"] == 0.0
    assert found["all"]["fnir_at_fpir_1_interval"] == [0.0, 0.0]
    assert det.read_bytes().startswith(b"\x89PNG")


def test_a_det_curve_needs_strangers(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "who.tsv", TWO_AND_TWO_STRANGERS[:6])
    done = run_evaluation(
        "identify", str(manifest), "--audio-root", str(DATA), "--det", str(tmp_path / "det.png"),
    )  # fmt: skip
    assert done.returncode == 1
    assert "without two strangers" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\tspeaker\na.wav\n", "line 2: file or speaker is missing"),
        ("file\tspeaker\na.wav\tx\nb.wav\ty\n", "no speaker with two recordings"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "who.tsv").write_text(text)
    with pytest.raises(SystemExit, match=message):
        make_plan(tmp_path / "who.tsv")


def test_a_report_of_all_conditions(tmp_path: Path) -> None:
    """A small corpus laid out as the large one: four speakers and two strangers."""
    known = [f"voices/ast{n}@example.org-{clip}.mp4" for n in (2, 3, 4, 5) for clip in (0, 1)]
    strangers = [f"voices/ast{n}@example.org-0.mp4" for n in (1, 6)]
    (tmp_path / "voices").mkdir()
    for name in (*known, *strangers):
        shutil.copy(DATA / Path(name).name, tmp_path / name)
    (tmp_path / "trials").mkdir()
    write_pairs(tmp_path / "trials", known).rename(tmp_path / "trials" / "cv_cross.txt")
    write_manifest(tmp_path / "dev.tsv", [*known, *strangers])
    found, det, open_set_det = report.measure([load_system("ours", tmp_path)], tmp_path)
    samples = {"identified": 63, "probes": 63, "interval": [0.9, 1.0]}
    made = {**found, "model_id": "a", "parameters": 1_000_000, "samples": samples}
    conditions = ["whole", "2s", "2s_5db", "3s_gsm"]
    assert list(report.TITLES) == list(det) == list(open_set_det) == conditions
    for name in ("cv_cross", "identify"):
        assert list(json.loads(json.dumps(made))["ours"][name]) == conditions
    full = report.full_tables(made)
    for title in report.TITLES.values():
        assert f"| EER, %, {title} | `cv_cross` |" in full
    cells = [line.split(" | ")[2:] for line in full.splitlines() if "| ours (1.00 M" in line]
    figures_shown = [cell for row in cells for cell in row]
    assert len(figures_shown) == 4 * (len(report.COSTS) + len(report.RATES))
    assert all(re.match(r"[\d.]+ \([\d.]+ to [\d.]+\)", cell) for cell in figures_shown)
    assert len(re.findall(r" \([\d.]+ to", report.card_table(made))) == len(conditions) + 1


def test_a_peer_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"campplus needs .*teachers\.py"):
        load_system("campplus", tmp_path)
    assert [each.name for each in load_systems(["ours", "campplus"], tmp_path)] == ["ours"]
