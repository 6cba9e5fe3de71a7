"""Degradations: each does what its name says, from the generator handed in and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.signal import correlate

from training.corpus import Corpus, Recordings
from training.degrade import DegradationSettings, clip, code, degrade, mask, record_quietly

CHANCES = [each.name for each in fields(DegradationSettings) if each.name.endswith("chance")]
NEVER = replace(DegradationSettings(), **dict.fromkeys(CHANCES, 0.0))
KINDS = DegradationSettings().noise_kinds
ALONE = {
    **{name: replace(NEVER, **{name: 1.0}) for name in CHANCES if name != "mask_chance"},
    **{kind: replace(NEVER, noise_chance=1.0, noise_kinds=(kind,)) for kind in set(KINDS)},
}
MANY = replace(NEVER, noise_chance=1.0, noise_kinds=("babble",), snr_db=(0.0, 0.0))


def make_corpus(speakers: list[str]) -> Corpus:
    """A second of each: `low` speaks a constant, the others a tone; a noise, a song, a room."""
    tone = 8_000.0 * np.sin(2 * np.pi * 500 / 16_000 * np.arange(16_000))
    sounds = [np.full(16_000, 8_000.0) if speaker == "low" else tone for speaker in speakers]
    speech = Recordings(
        samples=np.concatenate(sounds).astype(np.int16),
        starts=np.arange(len(speakers) + 1) * 16_000,
        names=np.array([f"{number}.ogg" for number in range(len(speakers))]),
        labels=np.array(speakers),
    )
    noise = Recordings(
        samples=np.random.default_rng(0).integers(-4_000, 4_000, 80_000).astype(np.int16),
        starts=np.array([0, 40_000, 80_000]),
        names=np.array(["hum.ogg", "song.ogg"]),
        labels=np.array(["noise", "music"]),
    )
    room = np.zeros(800, np.float32)
    room[[0, 400]] = 0.9, 0.3
    teacher = np.zeros((len(speakers), 192), np.float32)
    return Corpus(speech, noise, [room], teacher, domains=np.array(speakers))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(["low", "low", "low", "other", "another"])


@pytest.mark.parametrize("name", sorted(ALONE))
def test_each_changes_a_voice_and_repeats_itself(
    name: str, corpus: Corpus, voice: np.ndarray
) -> None:
    wave = voice[16_000:48_000]
    first, again = (degrade(wave, corpus, ALONE[name], np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == (wave.shape, np.float32)
    assert np.isfinite(first).all()
    assert not np.allclose(first, wave, atol=1e-4)


def test_all_at_once_leave_silence_finite(corpus: Corpus) -> None:
    always = replace(NEVER, **dict.fromkeys(CHANCES, 1.0))
    for seed in range(8):
        degraded = degrade(
            np.zeros(32_000, np.float32), corpus, always, np.random.default_rng(seed)
        )
        assert np.isfinite(degraded).all()


def test_babble_does_not_hold_the_speaker(corpus: Corpus) -> None:
    wave = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    means = {
        speaker: [
            abs(np.mean(degrade(wave, corpus, MANY, np.random.default_rng(seed), speaker) - wave))
            for seed in range(20)
        ]
        for speaker in ("low", "other")
    }
    assert max(means["low"]) < 1e-4  # the tones have no mean: `low` is not in it
    assert np.median(means["other"]) > 0.1


def test_there_is_no_babble_where_nobody_else_speaks() -> None:
    wave = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    alone = make_corpus(["low", "low"])
    np.testing.assert_array_equal(
        degrade(wave, alone, MANY, np.random.default_rng(0), speaker="low"), wave
    )


def test_clipping_flattens_the_share_asked_for() -> None:
    wave = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    clipped = clip(wave, share=0.05)
    at_ceiling = np.abs(clipped) >= np.abs(clipped).max() - 1e-6
    assert at_ceiling.mean() == pytest.approx(0.05, abs=0.001)
    np.testing.assert_array_equal(clipped[~at_ceiling], wave[~at_ceiling])


def test_a_quiet_recording_is_of_few_steps() -> None:
    wave = np.sin(np.arange(16_000) / 7.0).astype(np.float32)
    quiet = record_quietly(wave, peak_db=-60.0)
    assert np.abs(quiet).max() == pytest.approx(1e-3, rel=0.02)
    assert len(np.unique(quiet)) == 2 * 33 + 1  # 32,767 / 1,000 steps to each side


@pytest.mark.parametrize("codec", DegradationSettings().codecs)
def test_a_codec_neither_delays_nor_mutes_a_voice(codec: str, voice: np.ndarray) -> None:
    wave = 3.0 * voice[16_000:48_000] / np.abs(voice).max()
    coded = code(wave, codec)
    assert np.abs(coded).max() < 1.5
    assert abs(int(np.argmax(correlate(coded, wave))) - (wave.size - 1)) <= 16  # 1 ms


def test_a_mask_is_a_band_and_a_stretch() -> None:
    always = replace(NEVER, mask_chance=1.0)
    for seed in range(20):
        log_mel = np.ones((200, 64), np.float32)
        mask(log_mel, always, np.random.default_rng(seed))
        frames, mels = (log_mel == 0.0).all(axis=1), (log_mel == 0.0).all(axis=0)
        assert frames.sum() <= always.mask_frames
        assert mels.sum() <= always.mask_mels
        assert (log_mel[~frames][:, ~mels] == 1.0).all()
