"""Codecs: what comes back is the same voice, at the same place, and is not the same waveform."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.codecs import CODECS, round_trip
from tests.conftest import DATA
from utils.audio import decode


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    return decode(DATA / "ast1@example.org-1.mp4")[16_000:51_123]


@pytest.mark.parametrize("codec", CODECS)
def test_a_voice_comes_back_in_time(codec: str, waveform: np.ndarray) -> None:
    back = round_trip(waveform, codec)
    assert back.dtype == np.float32
    assert back.shape == waveform.shape
    size = 1 << 17
    spectra = np.fft.rfft(back, size) * np.conj(np.fft.rfft(waveform, size))
    correlation = np.fft.irfft(spectra, size)
    late = (int(np.argmax(correlation)) + size // 2) % size - size // 2
    assert abs(late) <= 4
    likeness = correlation.max() / np.linalg.norm(back) / np.linalg.norm(waveform)
    assert 0.7 < likeness < 0.9999


@pytest.mark.parametrize("codec", ["gsm", "amr-like", "g711"])
def test_a_telephone_codec_leaves_nothing_above_4_khz(codec: str) -> None:
    hiss = np.random.default_rng(0).normal(size=32_000).astype(np.float32) * 0.1
    power = np.abs(np.fft.rfft(round_trip(hiss, codec))) ** 2
    assert power[power.size * 9 // 16 :].sum() < 0.01 * power.sum()


@pytest.mark.parametrize("codec", CODECS)
def test_silence_and_full_scale_can_be_coded(codec: str) -> None:
    for waveform in (np.zeros(8_000, np.float32), np.full(20_000, 3.0, np.float32)):
        back = round_trip(waveform, codec)
        assert back.shape == waveform.shape
        assert np.isfinite(back).all()
