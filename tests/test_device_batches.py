"""Batches made on the device are what the workers make, as far as chance can be taken out."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

pytest.importorskip("jax")

import jax

from training.corpus import Corpus, Recordings
from training.degrade import DegradationSettings
from training.device_batches import device_batches
from training.settings import RunSettings
from training.targets import Targets, make_targets
from utils.features import log_mel

NEVER = replace(
    DegradationSettings(),
    **{each.name: 0.0 for each in fields(DegradationSettings) if each.name.endswith("chance")},
)
RUN = RunSettings(batch_size=4, short_chance=0.0, seed=3)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Four recordings of two made-up voices, each shorter than a window; two noises, a room."""
    rng = np.random.default_rng(3)
    starts = np.cumsum([0, 20_000, 25_000, 31_999, 18_000])
    room = np.zeros(800, np.float32)
    room[[0, 400]] = 0.9, 0.3
    return Corpus(
        speech=Recordings(
            samples=rng.integers(-8_000, 8_000, starts[-1]).astype(np.int16),
            starts=starts,
            names=np.array(list("abcd")),
            labels=np.array(["one", "one", "two", "two"]),
        ),
        noise=Recordings(
            samples=rng.integers(-4_000, 4_000, 80_000).astype(np.int16),
            starts=np.array([0, 40_000, 80_000]),
            names=np.array(["hum", "song"]),
            labels=np.array(["noise", "music"]),
        ),
        rooms=[room],
        teacher=rng.normal(size=(4, 192)).astype(np.float32),
        domains=np.array(["studio en", "studio en", "street en", "street en"]),
    )


def make(corpus: Corpus, numbers: range, **options: object) -> list[tuple[np.ndarray, dict]]:
    targets = make_targets(corpus, RUN, size=4)
    found = device_batches(corpus, targets, numbers, RUN, **options)
    return [
        (np.asarray(x), {key: np.asarray(y) for key, y in wanted.items()}) for x, wanted in found
    ]


def recording_of(unit: np.ndarray, targets: Targets) -> int:
    return int(np.argmax(targets.unit @ unit))


def test_an_undegraded_window_is_the_log_mel_of_serving(corpus: Corpus) -> None:
    targets = make_targets(corpus, RUN, size=4)
    ((inputs, wanted),) = make(corpus, range(1), degradations=NEVER)
    for found, unit, speaker in zip(inputs, wanted["unit"], wanted["speaker"], strict=True):
        index = recording_of(unit, targets)
        wave = np.resize(corpus.speech.wave(index), 32_000)
        np.testing.assert_allclose(found, log_mel(wave[None])[0], atol=2e-3)
        assert speaker == targets.speaker[index]


def test_a_voice_is_played_at_its_speed(corpus: Corpus) -> None:
    taught = replace(corpus, teacher_at={0.5: -corpus.teacher})
    fast = replace(RUN, speeds="0.5", batch_size=16)
    targets = make_targets(taught, fast, size=4)
    found, wanted = next(device_batches(taught, targets, range(1), fast, degradations=NEVER))
    rows = [int(np.argmax(targets.unit @ unit)) for unit in np.asarray(wanted["unit"])]
    speeds = targets.windows["speed"]
    slow = [(at, row) for at, row in enumerate(rows) if speeds[row] == 0.5]
    assert 0 < len(slow) < 16
    for at, row in slow:
        wave = taught.speech.wave(targets.windows["recording"][row])
        # a window has not room for all of it: where it begins is chance, what it is like is not
        assert np.asarray(found)[at].std() == pytest.approx(
            log_mel(np.repeat(wave, 2)[None, :32_000])[0].std(), rel=0.3
        )


def test_the_teacher_hears_windows_before_they_are_degraded(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_samples(weights: object, waves: jax.Array, precision: object) -> jax.Array:
        return waves[:, :192]

    monkeypatch.setattr("training.device_batches.embed", first_samples)
    half = replace(RUN, window_share=0.5, batch_size=8)
    targets = make_targets(corpus, RUN, size=4)
    noisy = replace(NEVER, noise_chance=1.0)
    (clean, wanted), (degraded, wanted_too) = (
        next(device_batches(corpus, targets, range(1), half, degradations=each, teacher=[()]))
        for each in (NEVER, noisy)
    )
    assert np.abs(clean - degraded).max() > 0.5
    unit = np.asarray(wanted["unit"])
    np.testing.assert_allclose(unit, wanted_too["unit"], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-5)
    nearest = (unit @ targets.unit.T).max(axis=1)
    assert (nearest[:4] < 0.999).all()  # what it says of them is no recording's target
    np.testing.assert_allclose(nearest[4:], 1.0, atol=1e-5)


def test_a_batch_is_a_function_of_seed_and_number(corpus: Corpus) -> None:
    first, second = make(corpus, range(2))
    (again,) = make(corpus, range(1, 2))
    np.testing.assert_array_equal(again[0], second[0])
    assert not np.array_equal(first[0], second[0])
    assert np.isfinite(first[0]).all()
    assert first[0].shape == (4, 200, 64)


def test_degradations_change_windows_and_leave_them_finite(corpus: Corpus) -> None:
    chances = [each.name for each in fields(DegradationSettings) if each.name.endswith("chance")]
    ((clean, _),) = make(corpus, range(1), degradations=NEVER)
    ((degraded, _),) = make(
        corpus, range(1), degradations=replace(NEVER, **dict.fromkeys(chances, 1.0))
    )
    assert np.isfinite(degraded).all()
    assert (np.abs(degraded - clean).max(axis=(1, 2)) > 0.5).all()


def test_a_telephone_has_no_treble(corpus: Corpus) -> None:
    ((inputs, _),) = make(corpus, range(1), degradations=replace(NEVER, telephone_chance=1.0))
    middle = inputs[:, 10:-10]  # the window's own edges have all frequencies
    assert middle[..., -4:].std() < middle[..., 20:30].std() / 10


def test_a_batch_size_that_cannot_be_made_is_refused(corpus: Corpus) -> None:
    odd = replace(RUN, batch_size=300)
    targets = make_targets(corpus, odd, size=4)
    with pytest.raises(ValueError, match="multiple of 256"):
        next(device_batches(corpus, targets, range(1), odd))
