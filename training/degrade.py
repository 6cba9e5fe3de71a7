"""What happens to a voice on its way to a server: room, noise, microphone, line, codec.

Pure functions on waves, float32 (samples,); all chance comes from the `rng` handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve, resample

from training.corpus import Corpus, Recordings
from training.settings import RunSettings


@dataclass(frozen=True)
class DegradationSettings:
    """How often and how much; the chances are independent of each other.

    Kaldi's x-vector recipe (Snyder et al. 2018), which WeSpeaker and 3D-Speaker follow, adds noise
    at 0 to 15 dB, music at 5 to 15 dB and babble of 3 to 7 voices at 13 to 20 dB. Ours is to hear
    voices among voices too, so one range down to 0 dB serves all.
    """

    room_chance: float = 0.4
    noise_chance: float = 0.7
    noise_kinds: tuple[str, ...] = ("noise", "music", "babble", "babble", "hiss")
    snr_db: tuple[float, float] = (0.0, 20.0)
    babble_voices: tuple[int, int] = (3, 7)
    clip_chance: float = 0.05
    clip_share: tuple[float, float] = (0.01, 0.1)  # of the samples
    quiet_chance: float = 0.2
    quiet_db: tuple[float, float] = (-45.0, -10.0)  # the peak below full scale, of 16 bits
    telephone_chance: float = 0.15  # 300 to 3,400 Hz, ITU-T G.712
    lowpass_chance: float = 0.1
    lowpass_hz: tuple[float, float] = (3_400.0, 7_500.0)
    codec_chance: float = 0.1  # 1 to 25 ms a window, where all else together takes 1 ms
    codecs: tuple[str, ...] = ("aac", "opus", "mp3", "gsm", "amr-like", "g711")
    mask_chance: float = 0.3  # SpecAugment (Park et al. 2019) on the log-mel
    mask_mels: int = 8
    mask_frames: int = 20


def of_run(settings: RunSettings) -> DegradationSettings:
    """What a run does to its windows."""
    return DegradationSettings(noise_chance=settings.noise_chance, room_chance=settings.room_chance)


def degrade(
    wave: np.ndarray,
    corpus: Corpus,
    settings: DegradationSettings,
    rng: np.random.Generator,
    speaker: str = "",
) -> np.ndarray:
    """Gives (samples,) as another microphone in another place would have sent it.

    Args:
        speaker: whose voice it is: not to be heard in the babble behind it.
    """
    if rng.random() < settings.room_chance:
        room = corpus.rooms[rng.integers(len(corpus.rooms))]
        wave = fftconvolve(wave, room)[: wave.size].astype(np.float32)
    if rng.random() < settings.noise_chance:
        noise = _noise(corpus, wave.size, settings, rng, speaker)
        wave = mix(wave, noise, rng.uniform(*settings.snr_db))
    if rng.random() < settings.clip_chance:
        wave = clip(wave, rng.uniform(*settings.clip_share))
    if rng.random() < settings.quiet_chance:
        wave = record_quietly(wave, rng.uniform(*settings.quiet_db))
    if rng.random() < settings.telephone_chance:
        wave = band_pass(wave, 300.0, 3_400.0)
    if rng.random() < settings.lowpass_chance:
        wave = band_pass(wave, 0.0, rng.uniform(*settings.lowpass_hz))
    if rng.random() < settings.codec_chance:
        wave = code(wave, settings.codecs[rng.integers(len(settings.codecs))])
    return wave


def change_speed(wave: np.ndarray, speed: float) -> np.ndarray:
    """Plays (samples,) so many times as fast; pitch and formants move, so it is another voice.

    Returns:
        (round(samples / speed),) float32.
    """
    if speed == 1.0:
        return wave
    return resample(wave, round(wave.size / speed)).astype(np.float32)


def mix(wave: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Adds noise of the same length at a signal-to-noise ratio; silence stays as it is."""
    noise_power = np.mean(np.square(noise))
    if noise_power <= 0.0:
        return wave
    gain = np.sqrt(np.mean(np.square(wave)) / noise_power * 10.0 ** (-snr_db / 10.0))
    return (wave + gain * noise).astype(np.float32)


def clip(wave: np.ndarray, share: float) -> np.ndarray:
    """Cuts off the loudest samples, `share` of all, as a microphone does that is turned up."""
    ceiling = np.quantile(np.abs(wave), 1.0 - share)
    return np.clip(wave, -ceiling, ceiling)


def record_quietly(wave: np.ndarray, peak_db: float) -> np.ndarray:
    """Scales to a peak below full scale, and rounds to 16 bits: what is quiet loses its detail."""
    peak = max(float(np.abs(wave).max()), 1e-6)
    scale = 32_767.0 * 10.0 ** (peak_db / 20.0) / peak
    return (np.round(wave * scale) / 32_768.0).astype(np.float32)


def code(wave: np.ndarray, codec: str) -> np.ndarray:
    """Sends it through a codec; what is louder than full scale is first brought down to it."""
    from evaluation.codecs import round_trip  # needs PyAV, which a GPU machine may lack

    return round_trip(wave / max(float(np.abs(wave).max()), 1.0), codec)


def band_pass(wave: np.ndarray, low_hz: float, high_hz: float, rate: int = 16_000) -> np.ndarray:
    """Keeps a band, with edges that fall over 100 Hz."""
    spectrum = np.fft.rfft(wave)
    hertz = np.fft.rfftfreq(wave.size, 1.0 / rate)
    keep = np.clip((high_hz - hertz) / 100.0, 0.0, 1.0)
    if low_hz > 0.0:
        keep *= np.clip((hertz - low_hz + 100.0) / 100.0, 0.0, 1.0)
    return np.fft.irfft(spectrum * keep, wave.size).astype(np.float32)


def mask(log_mel: np.ndarray, settings: DegradationSettings, rng: np.random.Generator) -> None:
    """Sets a band of mel bins and a stretch of frames of (frames, n_mels) to their mean, 0."""
    if rng.random() >= settings.mask_chance:
        return
    frames, mels = log_mel.shape
    first = rng.integers(mels)
    log_mel[:, first : first + rng.integers(settings.mask_mels + 1)] = 0.0
    first = rng.integers(frames)
    log_mel[first : first + rng.integers(settings.mask_frames + 1)] = 0.0


def random_part(
    recordings: Recordings, index: int, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """(samples,) from a random place; a recording that is shorter is repeated."""
    spare = recordings.length(index) - samples
    return part(recordings, index, int(rng.integers(spare + 1)) if spare > 0 else 0, samples)


def part(recordings: Recordings, index: int, start: int, samples: int) -> np.ndarray:
    """(samples,) from this place; what is left of the recording is repeated where it is shorter."""
    return np.resize(recordings.wave(index, start, samples), samples)


def _noise(
    corpus: Corpus,
    samples: int,
    settings: DegradationSettings,
    rng: np.random.Generator,
    speaker: str,
) -> np.ndarray:
    kind = settings.noise_kinds[rng.integers(len(settings.noise_kinds))]
    if kind == "hiss":
        return _hiss(samples, rng)
    if kind == "babble":
        low, high = settings.babble_voices
        voices = rng.integers(len(corpus.speech), size=rng.integers(low, high + 1))
        voices = voices[corpus.speech.labels[voices] != speaker]
        return sum(
            (_unit_level(random_part(corpus.speech, int(voice), samples, rng)) for voice in voices),
            np.zeros(samples, np.float32),
        )
    of_kind = np.flatnonzero(corpus.noise.labels == kind)
    return random_part(corpus.noise, int(rng.choice(of_kind)), samples, rng)


def _hiss(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls with frequency to a random exponent: 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum *= np.arange(1, spectrum.size + 1) ** (-rng.uniform(0.0, 2.0) / 2.0)
    return np.fft.irfft(spectrum, samples).astype(np.float32)


def _unit_level(wave: np.ndarray) -> np.ndarray:
    return wave / max(float(np.sqrt(np.mean(np.square(wave)))), 1e-6)
