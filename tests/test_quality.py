"""Speech is told from all else; recordings that are not good enough are refused with reasons."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import DATA
from utils.audio import decode
from utils.embedding import load_engine
from utils.errors import Clipped, NoSpeech, NotReady, TooNoisy, TooShort
from utils.features import log_mel_windows, window_starts
from utils.quality import (
    Quality,
    QualityRules,
    clipped_share,
    find_speech,
    measure,
    require,
    snr_db,
    two_voices,
    voice_split,
    windows_with_speech,
)
from utils.speech import (
    BLOCK,
    CHUNK,
    CONTEXT,
    DETECTOR,
    STATE_SHAPE,
    SpeechDetector,
    SpeechSettings,
    speech_mask,
    speech_seconds,
)

RATE = 16_000
LEVELS_DBFS = (-55.0, -40.0, -26.0, -12.0)
SEEDS = range(3)
GOOD = Quality(speech_s=4.0, total_s=5.0, level_dbfs=-12.0, clipped_share=0.0, snr_db=30.0)
RULES = QualityRules()


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector()


def coloured(t: np.ndarray, rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose power falls as frequency to this power: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(t.size))
    return np.fft.irfft(spectrum * np.arange(1, spectrum.size + 1) ** (-slope / 2), t.size)


def harmonics(phase: np.ndarray, count: int) -> np.ndarray:
    return np.sum([np.sin(k * phase) / k for k in range(1, count + 1)], axis=0)


def hum(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return harmonics(2 * np.pi * rng.choice([50.0, 60.0]) * t, 12)


def chord(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    root = 2 * np.pi * rng.uniform(110, 440) * t
    tremolo = 0.6 + 0.4 * np.cos(2 * np.pi * rng.uniform(0.3, 3) * t)
    return (harmonics(root, 6) + harmonics(1.26 * root, 6) + harmonics(1.5 * root, 6)) * tremolo


def melody(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Plucked notes of a quarter of a second."""
    notes = 220.0 * 2.0 ** (rng.integers(-6, 18, t.size) / 12)
    pitch = np.repeat(notes[: t.size // 4000 + 1], 4000)[: t.size]
    return harmonics(2 * np.pi * np.cumsum(pitch) / RATE, 8) * np.exp(-5 * (t % 0.25))


def vibrato(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return harmonics(2 * np.pi * rng.uniform(100, 600) * t + 4 * np.sin(2 * np.pi * 5.5 * t), 12)


def siren(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    pitch = 700 + 300 * np.sin(2 * np.pi * rng.uniform(0.2, 3) * t)
    return harmonics(2 * np.pi * np.cumsum(pitch) / RATE, 5)


def clicks(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    train = np.zeros(t.size)
    train[rng.integers(0, t.size, 30)] = 1.0
    return np.convolve(train, np.exp(-np.arange(200) / rng.uniform(2, 40)))[: t.size]


def buzz(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sawtooth at a voice's pitch, swelling four times a second as syllables do."""
    return ((t * rng.uniform(80, 300)) % 1 - 0.5) * (1 + np.sin(2 * np.pi * 4 * t))


def swelling_noise(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return coloured(t, rng, 1.0) * (1 + np.sin(2 * np.pi * rng.uniform(2, 8) * t))


NOT_SPEECH = {
    "tone": lambda t, rng: np.sin(2 * np.pi * rng.uniform(80, 3000) * t),
    "hum": hum,
    "white": lambda t, rng: coloured(t, rng, 0.0),
    "pink": lambda t, rng: coloured(t, rng, 1.0),
    "brown": lambda t, rng: coloured(t, rng, 2.0),
    "clicks": clicks,
    "chord": chord,
    "melody": melody,
    "vibrato": vibrato,
    "siren": siren,
    "buzz": buzz,
    "swelling_noise": swelling_noise,
}


def at_level(wave: np.ndarray, dbfs: float) -> np.ndarray:
    gain = 10.0 ** (dbfs / 20.0) / np.sqrt(np.mean(np.square(wave)))
    return np.clip(gain * wave, -1.0, 1.0).astype(np.float32)


@pytest.mark.parametrize("kind", NOT_SPEECH)
def test_what_is_no_voice_has_no_speech_at_any_level(kind: str, detector: SpeechDetector) -> None:
    for seed in SEEDS:  # 12 kinds x 3 seeds x 4 levels = 144 recordings
        rng = np.random.default_rng([seed, list(NOT_SPEECH).index(kind)])
        sound = NOT_SPEECH[kind](np.arange(round(rng.uniform(3, 6) * RATE)) / RATE, rng)
        for level in LEVELS_DBFS:
            wave = at_level(sound, level)
            quality = measure(wave, find_speech(wave, detector))
            assert quality.speech_s == 0.0, (kind, seed, level)
            assert quality.snr_db is None
            with pytest.raises(NoSpeech):
                require(quality, RULES, enrolling=False)


def test_silence_is_named_as_such(detector: SpeechDetector, voice: np.ndarray) -> None:
    whisper = at_level(voice, -85.0)
    for wave in (np.zeros(4 * RATE, np.float32), np.full(4 * RATE, 3e-5, np.float32), whisper):
        with pytest.raises(NoSpeech, match=r"s of silence: no sound reaches -60 dBFS"):
            require(measure(wave, find_speech(wave, detector)), RULES, enrolling=False)


def test_every_sample_has_enough_speech(detector: SpeechDetector) -> None:
    recordings = sorted(DATA.glob("*.mp4"))
    assert len(recordings) == 70
    for recording in recordings:
        wave = decode(recording)
        quality = measure(wave, find_speech(wave, detector))
        require(quality, RULES, enrolling=recording.stem.endswith("-0"))
        assert quality.speech_s <= quality.total_s
        assert quality.clipped_share == 0.0
        assert windows_with_speech(find_speech(wave, detector), wave.size).any()


@pytest.mark.parametrize("level", [-50.0, -35.0, -20.0])
def test_a_voice_is_heard_at_any_level(
    level: float, detector: SpeechDetector, voice: np.ndarray
) -> None:
    heard = speech_seconds(find_speech(at_level(voice, level), detector))
    assert heard == pytest.approx(speech_seconds(find_speech(voice, detector)), rel=0.02)


def test_a_voice_in_noise_passes_and_its_ratio_is_measured(
    detector: SpeechDetector, voice: np.ndarray
) -> None:
    rng = np.random.default_rng(5)
    pause = np.zeros(RATE, np.float32)
    wave = np.concatenate([pause, voice, pause])
    mask = find_speech(wave, detector)
    power = np.mean(np.square(wave.copy()[np.repeat(mask, CHUNK)[: wave.size]]))
    noise = coloured(np.arange(wave.size) / RATE, rng, 1.0)
    noise *= np.sqrt(power / np.mean(np.square(noise)))
    for snr in (5.0, 10.0, 20.0):
        noisy = (wave + noise * 10.0 ** (-snr / 20.0)).astype(np.float32)
        found = find_speech(noisy, detector)
        quality = measure(noisy, found)
        require(quality, RULES, enrolling=True)
        assert quality.snr_db == pytest.approx(snr, abs=2.0)
    with pytest.raises(TooNoisy, match=r"20\.\d dB above the noise, 25\.0 dB are needed"):
        require(quality, QualityRules(min_snr_db=25.0), enrolling=True)


def test_there_is_no_ratio_without_pauses_or_without_speech() -> None:
    wave = np.full(10 * CHUNK, 0.1, np.float32)
    assert snr_db(wave, np.ones(10, np.bool_)) is None
    assert snr_db(wave, np.zeros(10, np.bool_)) is None


def test_the_ratio_of_a_hand_made_wave() -> None:
    speech, noise = np.full(20 * CHUNK, 0.1), np.full(20 * CHUNK, 0.01)
    wave = np.concatenate([speech, noise]).astype(np.float32)
    mask = np.repeat([True, False], 20)
    assert snr_db(wave, mask) == pytest.approx(10 * np.log10(0.0099 / 0.0001), abs=0.01)
    assert snr_db(np.where(wave > 0.05, wave, 0).astype(np.float32), mask) == 60.0


def test_clipping_is_counted_in_runs(voice: np.ndarray) -> None:
    assert clipped_share(voice) == 0.0
    assert clipped_share(np.array([1.0, 1.0, 0.0, -1.0, 0.0] * 4, np.float32)) == 0.0
    ones = np.ones(10, np.float32)
    assert clipped_share(ones) == clipped_share(-ones) == 1.0
    shares = [clipped_share(np.clip(voice * gain, -1, 1)) for gain in (2.0, 8.0, 64.0)]
    assert shares == sorted(shares)
    assert shares[-1] > RULES.max_clipped_share


def quality(**changes: float) -> Quality:
    return Quality(**{**GOOD.__dict__, **changes})


def test_rules_say_what_was_measured_and_what_is_missing() -> None:
    require(GOOD, RULES, enrolling=True)
    require(quality(speech_s=1.0), RULES, enrolling=False)
    with pytest.raises(TooShort, match=r"1\.25 s of .* 1\.75 s are missing.* at least 3\.0 s") as e:
        require(quality(speech_s=1.25), RULES, enrolling=True)
    assert (e.value.seconds, e.value.needed_s) == (1.25, 3.0)
    with pytest.raises(TooShort, match=r"0\.99 s of .* 0\.01 s are missing"):
        require(quality(speech_s=0.999), RULES, enrolling=False)
    with pytest.raises(NoSpeech, match=r"no voice in 5\.0 s of sound"):
        require(quality(speech_s=0.0), RULES, enrolling=False)
    with pytest.raises(TooShort):  # whatever it is, it could not be enough
        require(quality(speech_s=0.0, total_s=0.4), RULES, enrolling=False)
    with pytest.raises(Clipped, match=r"40% of the recording .* 25% is allowed"):
        require(quality(clipped_share=0.4), RULES, enrolling=False)
    require(quality(snr_db=-9.0), RULES, enrolling=True)


def test_rules_and_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="min_identify_s <= min_enrol_s, got 4"):
        QualityRules(min_identify_s=4.0)
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 2"):
        QualityRules(max_clipped_share=2.0)
    with pytest.raises(ValueError, match="threshold_off <= threshold"):
        SpeechSettings(threshold_off=0.6)
    with pytest.raises(ValueError, match="more than 0, got 0"):
        SpeechSettings(min_silence_s=0.0)


def mask_of(likely: list[float]) -> str:
    return "".join(".x"[speech] for speech in speech_mask(np.array(likely, np.float32)).tolist())


def test_speech_has_hysteresis_and_a_shortest_length() -> None:
    assert mask_of([]) == ""
    assert mask_of([0.4] * 20) == "." * 20
    assert mask_of([0.4] * 2 + [0.99] * 8 + [0.4] * 5) == ".." + "x" * 13  # fades
    assert mask_of([0.99] * 7 + [0.0] * 6) == "." * 13  # 224 ms is a click
    assert mask_of([0.99] * 8 + [0.0] * 4 + [0.99] * 8) == "x" * 20  # the stop of a t
    assert mask_of([0.99] * 8 + [0.0] * 5 + [0.99] * 8) == "x" * 8 + "....." + "x" * 8
    assert mask_of([0.7] * 90) == "." * 90  # never sure
    assert mask_of([0.7] * 20 + [0.98] * 8 + [0.7] * 20) == "x" * 48


def test_windows_without_speech_do_not_vote() -> None:
    samples = 10 * RATE
    mask = np.zeros(-(-samples // CHUNK), np.bool_)
    assert not windows_with_speech(mask, samples).any()
    mask[round(4.0 * RATE / CHUNK) : round(6.0 * RATE / CHUNK)] = True
    voting = windows_with_speech(mask, samples)
    starts = [start / RATE for start in window_starts(samples)]
    assert [start for start, votes in zip(starts, voting, strict=True) if votes] == [3.0, 4.0, 5.0]


def test_at_least_one_window_votes_if_there_is_speech() -> None:
    for samples in (RATE // 3, 2 * RATE, round(3.3 * RATE)):  # repeated, whole, with a last window
        mask = np.zeros(-(-samples // CHUNK), np.bool_)
        mask[-8:] = True  # too little for a vote, and all there is
        voting = windows_with_speech(mask, samples)
        assert voting.shape == (len(window_starts(samples)),)
        assert voting[-1]


def test_two_voices_are_told_from_one(detector: SpeechDetector) -> None:
    engine = load_engine("onnx")

    def split(*names: str) -> np.ndarray:
        wave = np.concatenate([decode(DATA / f"{name}.mp4") for name in names])
        voting = windows_with_speech(find_speech(wave, detector), wave.size)
        return engine.embed(log_mel_windows(wave))[voting]

    for speaker, other in ((1, 3), (2, 5), (3, 6), (4, 6), (5, 3), (6, 1), (7, 3)):
        one = f"ast{speaker}@example.org"
        assert not two_voices(split(f"{one}-0"))
        assert not two_voices(split(f"{one}-1", f"{one}-2"))
        assert two_voices(split(f"{one}-0", f"ast{other}@example.org-0"))


def test_voices_that_cannot_be_told_apart_are_one() -> None:
    rows = np.eye(3, 64, dtype=np.float32)
    assert voice_split(rows) is None  # too few
    assert voice_split(np.repeat(rows[:1], 6, axis=0)) is None  # all the same
    lone = np.concatenate([np.repeat(rows[:1], 6, axis=0), rows[1:2]])
    assert voice_split(lone) is None
    two = np.concatenate([np.repeat(rows[:1], 3, axis=0), np.repeat(rows[1:2], 2, axis=0)])
    assert voice_split(two) == 0.0
    assert two_voices(two)
    assert not two_voices(two, threshold=-0.5)
    assert not two_voices(np.zeros((0, 64), np.float32))


def test_a_recording_in_blocks_is_heard_as_in_one(
    detector: SpeechDetector, voice: np.ndarray
) -> None:
    wave = np.resize(voice, BLOCK + 5 * RATE + 7)
    whole = detector.probabilities(wave)
    assert whole.dtype == np.float32
    assert whole.shape == (-(-wave.size // CHUNK),)
    padded = np.pad(wave, (CONTEXT, -wave.size % CHUNK))
    hidden = cell = np.zeros(STATE_SHAPE, np.float32)
    streamed = []
    for start in range(CONTEXT, padded.size, CHUNK):  # as Silero itself is called
        given = {
            "wave": padded[start : start + CHUNK],
            "past": padded[start - CONTEXT : start],
            "hidden": hidden,
            "cell": cell,
        }
        probability, hidden, cell = detector._session.run(None, given)
        streamed.append(probability[0])
    np.testing.assert_allclose(whole, streamed, atol=1e-4)


def test_the_detector_says_what_silero_says(detector: SpeechDetector, voice: np.ndarray) -> None:
    """The first 0.4 s as Silero VAD 6.2.3 (`silero_vad.onnx`) has them, called chunk by chunk."""
    silero = [0.002, 0.007, 0.009, 0.067, 0.113, 0.355, 0.979, 0.999, 1.0, 0.999, 1.0, 1.0]
    np.testing.assert_allclose(detector.probabilities(voice)[:12], silero, atol=0.002)


def test_the_detector_is_shared_by_threads(detector: SpeechDetector, voice: np.ndarray) -> None:
    alone = detector.probabilities(voice)
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(detector.probabilities, [voice] * 8):
            np.testing.assert_array_equal(together, alone)


def test_the_detector_takes_any_length(detector: SpeechDetector) -> None:
    for samples in (0, 1, CHUNK, CHUNK + 1):
        assert detector.probabilities(np.zeros(samples, np.float32)).size == -(-samples // CHUNK)
    with pytest.raises(ValueError, match=r"\(samples,\) is needed, got \(1, 512\)"):
        detector.probabilities(np.zeros((1, CHUNK), np.float32))


def test_a_missing_or_altered_detector_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"speech_detector\.onnx is missing"):
        SpeechDetector(tmp_path)
    shutil.copy(Path(__file__).parent.parent / "best_model" / DETECTOR, tmp_path)
    with (tmp_path / DETECTOR).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(NotReady, match="has SHA-256"):
        SpeechDetector(tmp_path)


@pytest.mark.parametrize("samples", [1, 2, 511, 512, 513, 1024, 2000, 2560, 3000])
@pytest.mark.parametrize("heard", [False, True])
def test_the_shortest_sound_is_measured(samples: int, heard: bool) -> None:
    wave = np.full(samples, 0.1, np.float32)
    quality = measure(wave, np.full(-(-samples // 512), heard))
    assert quality.snr_db is None
    with pytest.raises((TooShort, NoSpeech)):
        require(quality, QualityRules(), enrolling=False)
