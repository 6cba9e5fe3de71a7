"""Log-mel windows: pinned to librosa, cut by a written rule, free of neighbours and gain."""

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.features import (
    FeatureSettings,
    log_mel,
    log_mel_windows,
    mel_filters,
    window_starts,
    windows,
)

SETTINGS = FeatureSettings()


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """5 s that rise and fall as speech does: a harmonic tone with pauses, over faint noise."""
    rng = np.random.default_rng(7)
    time = np.arange(5 * SETTINGS.sample_rate) / SETTINGS.sample_rate
    tone = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 20))
    wave = 0.1 * tone * (np.sin(2 * np.pi * 1.5 * time) > -0.3) + rng.normal(0, 1e-3, time.size)
    return wave.astype(np.float32)


def test_mel_filters_equal_librosas() -> None:
    theirs = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=64)
    np.testing.assert_allclose(mel_filters(), theirs, atol=1e-8)


def test_log_mel_equals_librosas(voice: np.ndarray) -> None:
    window = voice[:32_000]
    mel = librosa.feature.melspectrogram(
        y=np.pad(window, 176), sr=16_000, n_fft=512, win_length=400, hop_length=160,
        center=False, n_mels=64,
    )  # fmt: skip
    decibels = librosa.power_to_db(mel, ref=np.max, amin=1e-30, top_db=80.0).T
    theirs = decibels * np.log(10) / 10
    theirs -= theirs.mean(axis=0)
    ours = log_mel(window[None])[0]
    assert ours.shape == (200, 64)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert np.ptp(ours) > 5, "the comparison would say nothing on a flat window"


@pytest.mark.parametrize(
    ("seconds", "starts_s"),
    [(0.5, [0]), (2.0, [0]), (2.2, [0]), (2.25, [0, 0.25]), (3.0, [0, 1]), (3.1, [0, 1]),
     (3.5, [0, 1, 1.5]), (4.0, [0, 1, 2])],
)  # fmt: skip
def test_where_windows_start(seconds: float, starts_s: list[float]) -> None:
    assert [s / 16_000 for s in window_starts(round(seconds * 16_000))] == starts_s


@given(st.integers(1, 12 * 16_000))
def test_windows_lie_in_the_recording_and_leave_little_out(samples: int) -> None:
    size = SETTINGS.window_samples
    starts = window_starts(samples)
    assert starts == sorted(set(starts))
    if samples >= size:
        assert starts[0] == 0
        assert samples - (starts[-1] + size) in range(round(SETTINGS.min_new_s * 16_000))


def test_a_short_wave_is_repeated(voice: np.ndarray) -> None:
    (window,) = windows(voice[:12_000])
    np.testing.assert_array_equal(window, np.tile(voice[:12_000], 3)[:32_000])


def test_features_do_not_depend_on_the_neighbours(voice: np.ndarray) -> None:
    loud = np.concatenate([voice[:32_000] * 1e-3, voice[32_000:64_000]])
    alone = log_mel_windows(loud[:32_000])
    among = log_mel_windows(loud)
    np.testing.assert_allclose(among[0], alone[0], atol=1e-5)


@pytest.mark.parametrize("gain", [1e-3, 0.1, 2.0])
def test_features_do_not_depend_on_gain(voice: np.ndarray, gain: float) -> None:
    np.testing.assert_allclose(
        log_mel_windows(voice * np.float32(gain)), log_mel_windows(voice), atol=1e-3
    )


def test_digital_silence_gives_flat_features() -> None:
    np.testing.assert_allclose(log_mel_windows(np.zeros(16_000, np.float32)), 0, atol=1e-3)


@pytest.mark.parametrize("wave", [np.zeros(0, np.float32), np.zeros((2, 16_000), np.float32)])
def test_a_wave_of_another_shape_is_refused(wave: np.ndarray) -> None:
    with pytest.raises(ValueError, match="samples"):
        log_mel_windows(wave)
