"""What a recording is good for: how much speech, how noisy, how clipped, one voice or two.

A recording's way: `find_speech`, `measure`, `require`; then `windows_with_speech` says which
windows are embedded, and `two_voices` looks at their embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.errors import Clipped, NoSpeech, TooNoisy, TooShort
from utils.features import FeatureSettings, window_starts
from utils.speech import CHUNK, SAMPLE_RATE, SpeechDetector, speech_mask, speech_seconds

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

FRAME_S = 0.02
SILENCE_DBFS = -60.0  # a recording whose loudest frame is below holds no voice
HEARD_DBFS = -25.0  # what the detector hears the loud frames at; louder, it trusts birds more
LOUD_QUANTILE = 0.95  # of the frames: one slamming door is not the level of the rest
LEAST_DB = -120.0  # a figure for digital silence

FULL_SCALE = 0.98  # a codec moves what was cut off at 1.0 a little
MIN_CLIPPED_RUN = 3  # samples: a peak that only touches full scale is no harm
GUARD_CHUNKS = 2  # around speech, where a syllable fades into what is to be noise
MIN_NOISE_S = 0.2  # of pauses, to measure noise in
SNR_RANGE_DB = (-10.0, 60.0)  # what lies outside cannot be told from these
TWO_VOICES_COSINE = 0.35  # low: noise and two microphones tear one voice apart as well
MIN_GROUP = 2  # windows: a lone one may be a cough, or half of each voice
MIN_WINDOW_SPEECH_S = 0.5  # a quarter of a window; with less it hears the room more than the voice


@dataclass(frozen=True)
class Quality:
    """What was measured in a recording."""

    speech_s: float
    """Net: pauses are not in it."""
    total_s: float
    level_dbfs: float
    """Of the loudest 20 ms; 0 is a square wave at full scale, -120 digital silence."""
    clipped_share: float
    """Of all samples, those in runs at full scale; 0 to 1."""
    snr_db: float | None
    """Speech over what is in the pauses; None where there is too little of either."""

    @property
    def silent(self) -> bool:
        return self.level_dbfs < SILENCE_DBFS


@dataclass(frozen=True)
class QualityRules:
    """What a recording must have before it is answered."""

    min_identify_s: float = 1.0  # of speech: half a window; below, answers are guesses
    min_enrol_s: float = 3.0  # an enrolment is compared with for years: worth three seconds
    max_clipped_share: float = 0.25  # peaks may clip; a quarter of all is a broken gain
    min_snr_db: float | None = None  # reported only: noisy speech is answered, with a lower score

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_identify_s <= self.min_enrol_s:
            raise ValueError(
                "need 0 <= min_identify_s <= min_enrol_s, got "
                f"{self.min_identify_s}, {self.min_enrol_s}"
            )
        if not 0.0 <= self.max_clipped_share <= 1.0:
            raise ValueError(f"max_clipped_share must be in [0, 1], got {self.max_clipped_share}")


def find_speech(wave: Array, detector: SpeechDetector) -> Mask:
    """Which chunks of 32 ms are speech; none where nothing reaches -60 dBFS.

    The detector hears every recording at one level. By itself it is swayed by gain: loud birds
    and organs pass for voices, and quiet voices are missed.

    Args:
        wave: (samples,) in [-1, 1], 16 kHz.

    Returns:
        (chunks,) bool, chunks = ceil(samples / 512).
    """
    powers = _powers(wave, round(FRAME_S * SAMPLE_RATE))
    if _decibel(float(powers.max(initial=0.0))) < SILENCE_DBFS:
        return np.zeros(-(-wave.size // CHUNK), np.bool_)
    loud_db = _decibel(float(np.quantile(powers, LOUD_QUANTILE)))
    gain = np.float32(10.0 ** ((HEARD_DBFS - max(loud_db, SILENCE_DBFS)) / 20.0))
    return speech_mask(detector.probabilities(gain * wave))


def measure(wave: Array, mask: Mask) -> Quality:
    """Measures a recording.

    Args:
        wave: (samples,) in [-1, 1], 16 kHz.
        mask: (chunks,), as `find_speech` gives it.
    """
    return Quality(
        speech_s=min(speech_seconds(mask), wave.size / SAMPLE_RATE),
        total_s=wave.size / SAMPLE_RATE,
        level_dbfs=level_dbfs(wave),
        clipped_share=clipped_share(wave),
        snr_db=snr_db(wave, mask),
    )


def require(quality: Quality, rules: QualityRules, *, enrolling: bool) -> None:
    """Lets a recording pass that is good enough to enrol, or to identify.

    Raises:
        NoSpeech: it is silent, or nobody speaks in it.
        TooShort: there is too little speech.
        Clipped: too much of it is at full scale.
        TooNoisy: a ratio is asked for, and the voice is not so far above the noise.
    """
    needed_s = rules.min_enrol_s if enrolling else rules.min_identify_s
    if quality.silent:
        raise NoSpeech(
            f"{quality.total_s:.1f} s of silence: no sound reaches {SILENCE_DBFS:.0f} dBFS; "
            "check the microphone and send a recording in which somebody speaks."
        )
    if quality.speech_s == 0.0 and quality.total_s >= needed_s:
        raise NoSpeech(
            f"no voice in {quality.total_s:.1f} s of sound; "
            f"send a recording with at least {needed_s:.1f} s of speech."
        )
    if quality.speech_s < needed_s:
        raise TooShort(quality.speech_s, needed_s, rules.min_identify_s if enrolling else None)
    if quality.clipped_share > rules.max_clipped_share:
        raise Clipped(quality.clipped_share, rules.max_clipped_share)
    least_db = rules.min_snr_db
    if quality.snr_db is not None and least_db is not None and quality.snr_db < least_db:
        raise TooNoisy(quality.snr_db, least_db)


def level_dbfs(wave: Array) -> float:
    """Level of the loudest 20 ms; 0 dBFS is the power of a full-scale square wave."""
    return _decibel(float(_powers(wave, round(FRAME_S * SAMPLE_RATE)).max(initial=0.0)))


def clipped_share(wave: Array) -> float:
    """Share of the samples that lie in runs of three or more at full scale.

    Example:
        >>> clipped_share(np.array([0.2, 1.0, 1.0, 1.0, 0.1, -1.0, 0.3, 0.0], np.float32))
        0.375
    """
    full = np.abs(wave) >= FULL_SCALE
    if not full.any():
        return 0.0
    edges = np.flatnonzero(np.diff(full, prepend=False, append=False)).reshape(-1, 2)
    runs = edges[:, 1] - edges[:, 0]
    return float(runs[runs >= MIN_CLIPPED_RUN].sum() / wave.size)


def snr_db(wave: Array, mask: Mask) -> float | None:
    """Speech over noise: the mean power of speech less that of the noise, over the latter.

    Noise is the median power of the chunks that are two or more away from speech: a slamming door
    is not what the voice has to stand out from. Voices in the background that the detector takes
    for speech are not seen as noise.

    Returns:
        -10 to 60; None with less than 0.2 s of noise, or without speech.
    """
    powers = _powers(np.pad(wave, (0, -wave.size % CHUNK)), CHUNK)
    spread = np.convolve(mask, np.ones(2 * GUARD_CHUNKS + 1))  # "same" is longer than a short mask
    near = spread[GUARD_CHUNKS : GUARD_CHUNKS + mask.size] > 0.0
    noise = powers[~near]
    if not mask.any() or noise.size * CHUNK < MIN_NOISE_S * SAMPLE_RATE:
        return None
    floor = float(np.median(noise))
    ratio = _decibel(float(powers[mask].mean()) - floor) - _decibel(floor)
    return float(np.clip(ratio, *SNR_RANGE_DB))


def windows_with_speech(
    mask: Mask, samples: int, settings: FeatureSettings = FeatureSettings()
) -> Mask:
    """Which of the windows that `utils.features` cuts hold enough speech to vote.

    Args:
        mask: (chunks,), as `find_speech` gives it.
        samples: of the recording.

    Returns:
        (windows,) bool. If there is speech, at least one is true: the one with most of it.
    """
    counted = np.concatenate([[0], np.cumsum(mask)])  # speech before each chunk
    starts = np.array(window_starts(samples, settings))
    first = np.round(starts / CHUNK).astype(int)
    last = np.round((starts + settings.window_samples) / CHUNK).astype(int)
    chunks = counted[np.minimum(last, mask.size)] - counted[np.minimum(first, mask.size)]
    enough = min(MIN_WINDOW_SPEECH_S * SAMPLE_RATE / CHUNK, max(1, chunks.max()))
    voting: Mask = chunks >= enough
    return voting


def voice_split(embeddings: Array) -> float | None:
    """How alike the two groups are into which a recording's windows fall: low for two voices.

    Two-means on the sphere, started from the two windows least alike.

    Args:
        embeddings: (windows, 64), rows of length 1, of windows with speech.

    Returns:
        Mean cosine between windows of the one group and of the other, in [-1, 1]; None where it
        cannot be told: fewer than four windows, or a group of less than two.
    """
    if len(embeddings) < 2 * MIN_GROUP:
        return None
    cosines = embeddings @ embeddings.T
    one, other = np.unravel_index(np.argmin(cosines), cosines.shape)
    centres = embeddings[[one, other]]
    in_other = np.zeros(len(embeddings), np.bool_)
    for _ in range(10):  # groups settle within three or four
        before, in_other = in_other, embeddings @ (centres[1] - centres[0]) > 0.0
        sizes = np.count_nonzero(~in_other), np.count_nonzero(in_other)
        if min(sizes) == 0 or (in_other == before).all():
            break
        centres = np.stack([_direction(embeddings[~in_other]), _direction(embeddings[in_other])])
    if min(sizes) < MIN_GROUP:
        return None
    return float(cosines[np.ix_(~in_other, in_other)].mean())


def two_voices(embeddings: Array, threshold: float = TWO_VOICES_COSINE) -> bool:
    """Whether a recording's windows are of two voices; false where it cannot be told.

    A second voice of less than two windows, and a voice that sounds like the first, are not found.

    Args:
        embeddings: (windows, 64), rows of length 1, of windows with speech.
    """
    split = voice_split(embeddings)
    return split is not None and split < threshold


def _direction(embeddings: Array) -> Array:
    mean = embeddings.mean(axis=0)
    direction: Array = mean / max(float(np.linalg.norm(mean)), 1e-9)
    return direction


def _powers(wave: Array, size: int) -> Array:
    """(samples,) -> (samples // size,) mean squares."""
    frames = wave[: wave.size // size * size].reshape(-1, size)
    powers: Array = np.einsum("ij,ij->i", frames, frames) / size
    return powers


def _decibel(power: float) -> float:
    return float(10.0 * np.log10(max(power, 10.0 ** (LEAST_DB / 10.0))))
