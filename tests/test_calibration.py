"""Scores, likelihood ratios and thresholds: what holds whatever was fitted."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.llr import Trials, fit_llr
from utils.calibration import (
    Calibration,
    StrangerModel,
    likelihood_ratios,
    load_calibration,
    shortness,
)
from utils.decision import decide
from utils.embedding import BEST_MODEL, ModelFiles
from utils.errors import NotReady

REPORT = Path(__file__).parent.parent / "evaluation" / "decisions.json"
SHARES = st.floats(1e-5, 0.5)
SPEAKERS = st.integers(1, 1_000_000)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return load_calibration(BEST_MODEL, ModelFiles(BEST_MODEL).model_id)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def voices(n: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, 64)))


def near(row: np.ndarray, noise: float, seed: int) -> np.ndarray:
    return unit(row + noise * np.random.default_rng(seed).standard_normal(64) / 8.0)


def judge(calibration: Calibration, probe: np.ndarray, nearest: np.ndarray, **changes: object):
    asked: dict = {"probe_s": 4.0, "enrolled_s": [5.0] * len(nearest), "speakers": len(nearest),
                   "level": 0.0, "max_fpir": 0.01}  # fmt: skip
    return decide(calibration, probe, nearest, **{**asked, **changes})


@given(SHARES, SPEAKERS)
def test_a_threshold_lets_the_share_of_strangers_pass_that_it_was_asked_for(
    share: float, speakers: int
) -> None:
    model = load_calibration(BEST_MODEL, ModelFiles(BEST_MODEL).model_id).strangers
    assert model.share(model.threshold(share, speakers), speakers) == pytest.approx(share, rel=1e-6)


@given(SHARES, SPEAKERS, SPEAKERS)
def test_more_speakers_never_lower_the_threshold(share: float, one: int, other: int) -> None:
    model = load_calibration(BEST_MODEL, ModelFiles(BEST_MODEL).model_id).strangers
    few, many = sorted((one, other))
    assert model.threshold(share, few) <= model.threshold(share, many)


@given(st.floats(-5.0, 20.0), SPEAKERS, SPEAKERS)
def test_more_speakers_never_make_a_stranger_less_likely(
    score: float, one: int, other: int
) -> None:
    model = load_calibration(BEST_MODEL, ModelFiles(BEST_MODEL).model_id).strangers
    few, many = sorted((one, other))
    assert model.share(score, few) <= model.share(score, many) <= 1.0


def test_independent_comparisons_of_an_exponential_tail_follow_the_textbook() -> None:
    """FPIR = 1 - (1 - FMR)^N, with FMR = exp(-score)."""
    model = StrangerModel((0.0, 1.0, 0.0), 1.0, 0.5, 0.0, 0.0, 1.0)
    for speakers in (100, 10_000):
        score = np.log(speakers) + 4.0
        expected = 1.0 - (1.0 - np.exp(-score)) ** speakers
        assert model.share(score, speakers) == pytest.approx(expected, rel=1e-3)


def test_adding_people_never_raises_the_confidence_in_the_nearest(calibration: Calibration) -> None:
    gallery = voices(5, seed=1)
    probe = near(gallery[0], 1.0, seed=2)
    verdicts = [judge(calibration, probe, gallery, speakers=n) for n in (5, 50, 500, 50_000)]
    for few, many in itertools.pairwise(verdicts):
        assert many.probability <= few.probability
        assert many.stranger_chance >= few.stranger_chance


def test_the_same_voice_is_accepted_and_another_one_unknown(calibration: Calibration) -> None:
    gallery = voices(5, seed=3)
    same = judge(calibration, near(gallery[0], 0.3, seed=4), gallery)
    other = judge(calibration, voices(1, seed=5)[0], gallery)
    assert (same.outcome, other.outcome) == ("accepted", "unknown")
    assert same.probability > 0.9 > 0.1 > other.probability
    assert same.margin is not None
    assert same.margin > 0.0
    assert same.more_speech_s is None


def test_what_is_between_asks_for_more_speech(calibration: Calibration) -> None:
    gallery = voices(5, seed=6)
    outcomes = {}
    for noise in np.linspace(0.1, 3.0, 60):
        verdict = judge(calibration, near(gallery[0], noise, seed=7), gallery, probe_s=1.0)
        outcomes.setdefault(verdict.outcome, []).append(verdict)
    assert set(outcomes) == {"accepted", "inconclusive", "unknown"}
    assert any((each.more_speech_s or 0.0) > 0.0 for each in outcomes["inconclusive"])
    strictest = max(each.stranger_chance for each in outcomes["accepted"])
    assert strictest <= 0.01 < min(each.stranger_chance for each in outcomes["unknown"])


def test_asking_for_fewer_false_names_accepts_less(calibration: Calibration) -> None:
    gallery = voices(5, seed=8)
    probes = [near(gallery[0], noise, seed=9) for noise in np.linspace(0.1, 3.0, 60)]
    accepted = [
        [judge(calibration, each, gallery, max_fpir=fpir).outcome for each in probes].count(
            "accepted"
        )
        for fpir in (0.2, 0.01, 0.0001)
    ]
    assert accepted[0] > accepted[1] > accepted[2] > 0


def test_a_speaker_of_unknown_speech_and_a_gallery_of_one_are_judged(
    calibration: Calibration,
) -> None:
    gallery = voices(1, seed=10)
    verdict = judge(calibration, gallery[0], gallery, enrolled_s=[None])
    assert verdict.outcome == "accepted"
    assert verdict.margin is None


def test_a_gallery_of_voices_that_are_alike_has_a_higher_level(calibration: Calibration) -> None:
    apart = voices(40, seed=11)
    alike = unit(apart + 0.8 * voices(1, seed=12))
    assert calibration.level(alike) > calibration.level(apart)
    assert calibration.level(apart[:2]) == 0.0


def test_shortness_falls_with_speech_on_either_side() -> None:
    assert shortness(1.0, 5.0) > shortness(2.0, 5.0) > shortness(2.0, 10.0)
    assert np.isfinite(shortness(0.0, 0.0))


def test_the_fit_finds_the_line_that_made_the_scores() -> None:
    """Scores of two normal distributions of one spread have a line for a likelihood ratio."""
    rng = np.random.default_rng(13)
    n = 40_000
    score = np.concatenate([rng.normal(4.0, 1.0, n), rng.normal(0.0, 1.0, n)])
    short = rng.normal(0.0, 0.5, 2 * n)
    trials = Trials(score, short, np.arange(2 * n) < n, np.zeros(2 * n, np.bool_))
    line = fit_llr([trials])
    expected = 4.0 * score - 8.0
    assert np.abs(likelihood_ratios(line, score, short) - expected).mean() < 0.2


def test_the_calibration_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="evaluation calibrate"):
        load_calibration(BEST_MODEL, "0123456789abcdef")
    with pytest.raises(NotReady, match="missing"):
        load_calibration(tmp_path, "0123456789abcdef")


def test_an_altered_cohort_is_refused(tmp_path: Path) -> None:
    for name in ("calibration.json", "cohort.npy"):
        shutil.copy(BEST_MODEL / name, tmp_path / name)
    content = bytearray((tmp_path / "cohort.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "cohort.npy").write_bytes(content)
    with pytest.raises(NotReady, match="restore"):
        load_calibration(tmp_path, ModelFiles(BEST_MODEL).model_id)


def test_the_reported_costs_and_rates_are_within_their_bars() -> None:
    """What `python -m evaluation calibrate` measured on the dev sets of the served network."""
    report = json.loads(REPORT.read_text())
    assert report["model_id"] == ModelFiles(BEST_MODEL).model_id
    llr = report["llr"]
    assert llr["cllr"] <= 1.1 * llr["min_cllr"]
    assert llr["act_dcf_p01"] <= 1.15 * llr["min_dcf_p01"]
    assert llr["act_dcf_p05"] <= 1.15 * llr["min_dcf_p05"]
    cells = [
        (row, asked) for rows in report["fpir"].values() for row in rows for asked in row["asked"]
    ]
    assert {10, 100} <= {row["speakers"] for row, _ in cells}
    above = [asked for _, asked in cells if asked["interval"][0] > asked["fpir"]]
    assert len(above) <= 0.025 * len(cells)  # as many as intervals of 95 % leave out above
    assert all(asked["obtained"] <= 3.0 * asked["fpir"] for _, asked in cells)
    assert all(row["searches"] >= 3_000 for row, _ in cells if row["set"] == "mixed")
