"""Batches made where the network is trained: all sound lies on the device, degraded there by JAX.

A GPU takes windows faster than processor cores degrade them. This is `batches.py` again as one
compiled function of seed and number, with what a GPU does well: rooms, noise, babble, bands,
clipping, quiet recordings and masks, from the same `DegradationSettings`; codecs run on processors
alone and are left out. Of single windows the teacher is not asked beforehand: it is on the device
too, and hears each as it is made. Needs `KERAS_BACKEND=jax`, and 2.5 GB on the device for 21 h of
sound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from training.corpus import Corpus, Recordings
from training.degrade import DegradationSettings, of_run
from training.device_teacher import Weights, embed
from training.settings import RunSettings
from training.targets import Targets
from training.windows import OTHER_CHANCE, OTHER_DB, SPEED_CHANCE, SPEEDS
from utils.features import FeatureSettings, frame_weights, mel_filters

AT_ONCE = 256  # windows: bounds what a batch of any size takes besides the sound
ROOM_S = 0.6  # of a room's response that is kept


class _Sound(NamedTuple):
    """`Recordings` on the device."""

    samples: jax.Array  # (all samples,) int16
    starts: jax.Array  # (recordings,) int32
    lengths: jax.Array  # (recordings,) int32


class _World(NamedTuple):
    """All that batches are made from."""

    speech: _Sound
    voices: jax.Array  # (recordings,) int32: who speaks
    chances: jax.Array  # (rows,) of being picked, added up
    noise: _Sound
    noise_of_kind: dict[str, jax.Array]  # the recordings of a kind of noise
    rooms: jax.Array  # (rooms, bins) complex64 spectra
    recording: jax.Array  # (rows,) and so on: as in `Targets`
    speed: jax.Array
    unit: jax.Array
    speaker: jax.Array
    teacher: Weights
    origins: jax.Array  # (recordings, wide), axes (wide, size): of what it says, to the targets
    axes: jax.Array


def device_batches(
    corpus: Corpus,
    targets: Targets,
    numbers: range,
    settings: RunSettings,
    features: FeatureSettings = FeatureSettings(),
    degradations: DegradationSettings | None = None,
    teacher: Weights | None = None,
) -> Iterator[tuple[jax.Array, dict[str, jax.Array]]]:
    """Yields the batches of these numbers: as `BatchMaker.make`, in float32, on the device.

    Args:
        targets: of whole recordings.
        teacher: hears the windows that are the run's `window_share`.

    Raises:
        ValueError: the batch size is no multiple of what is made at once.
    """
    at_once = min(AT_ONCE, settings.batch_size)
    if settings.batch_size % at_once:
        raise ValueError(f"--batch-size must be a multiple of {at_once}: {settings.batch_size}")
    n_taught = round(settings.window_share * at_once) if teacher else 0
    world = _bring(corpus, targets, features, teacher or [])
    maker = _WindowMaker(features, degradations or of_run(settings), settings.short_chance)
    chunks = (settings.batch_size // at_once, at_once)

    @jax.jit
    def make(world: _World, number: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(settings.seed), number)
        made = jax.lax.map(lambda keys: make_some(keys, world), jax.random.split(key, chunks))
        inputs, unit, speaker = (each.reshape(-1, *each.shape[2:]) for each in made)
        return inputs, {"unit": unit, "speaker": speaker}

    def make_some(keys: jax.Array, world: _World) -> tuple[jax.Array, jax.Array, jax.Array]:
        is_taught = jnp.arange(at_once) < n_taught
        inputs, heard, unit, speaker, recording = jax.vmap(maker.make, (0, 0, None))(
            keys, is_taught, world
        )
        if n_taught:
            said = embed(world.teacher, heard[:n_taught], jnp.bfloat16)
            said = (said - world.origins[recording[:n_taught]]) @ world.axes
            said /= jnp.linalg.norm(said, axis=1, keepdims=True)
            unit = unit.at[:n_taught].set(said)
        return inputs, unit, speaker

    for number in numbers:
        yield make(world, jnp.int32(number))


def _bring(corpus: Corpus, targets: Targets, features: FeatureSettings, teacher: Weights) -> _World:
    kinds = np.unique(corpus.noise.labels)
    length = round(ROOM_S * features.sample_rate)
    size = scipy.fft.next_fast_len(features.window_samples + length, real=True)
    return _World(
        speech=_sound(corpus.speech),
        voices=jnp.asarray(np.unique(corpus.speech.labels, return_inverse=True)[1], jnp.int32),
        chances=jnp.asarray(np.cumsum(targets.chances), jnp.float32),
        noise=_sound(corpus.noise),
        noise_of_kind={
            str(kind): jnp.asarray(np.flatnonzero(corpus.noise.labels == kind)) for kind in kinds
        },
        rooms=jnp.asarray(
            np.stack(
                [scipy.fft.rfft(room[:length].astype(np.float32), size) for room in corpus.rooms]
            )
        ),
        recording=jnp.asarray(targets.windows["recording"]),
        speed=jnp.asarray(targets.windows["speed"]),
        unit=jnp.asarray(targets.unit),
        speaker=jnp.asarray(targets.speaker),
        teacher=teacher,
        origins=jnp.asarray(targets.space.origins_of(corpus.domains)),
        axes=jnp.asarray(targets.space.axes),
    )


def _sound(recordings: Recordings) -> _Sound:
    starts = np.asarray(recordings.starts)
    return _Sound(
        jnp.asarray(recordings.samples),
        jnp.asarray(starts[:-1], jnp.int32),
        jnp.asarray(np.diff(starts), jnp.int32),
    )


def _gain(wave: jax.Array, noise: jax.Array, snr_db: jax.Array) -> jax.Array:
    """What to multiply noise with so that the wave is so far above it; 0 for silence."""
    power, noise_power = jnp.mean(wave**2), jnp.mean(noise**2)
    gain = jnp.sqrt(power / jnp.maximum(noise_power, 1e-12) * 10.0 ** (-snr_db / 10.0))
    return jnp.where(noise_power > 0.0, gain, 0.0)


class _WindowMaker:
    """One window from one key; `vmap` makes many of it."""

    def __init__(
        self, features: FeatureSettings, degradations: DegradationSettings, short_chance: float
    ) -> None:
        self.features = features
        self.degradations = degradations
        self.short_chance = short_chance
        self.size = features.window_samples
        self.hertz = jnp.fft.rfftfreq(self.size, 1.0 / features.sample_rate)

    def make(
        self, key: jax.Array, is_taught: jax.Array, world: _World
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
        """Gives (frames, n_mels) log-mel, the wave before it was degraded, the target in its two
        parts, and the recording.

        Args:
            is_taught: whether the teacher will hear it by itself: then it may be at any speed,
                and another voice in it. The target is only right where it is not taught.
        """
        pick, change, crop, room, noise, clip, quiet, band, mask = jax.random.split(key, 9)
        last = len(world.chances) - 1
        row = jnp.searchsorted(world.chances, jax.random.uniform(pick)).clip(0, last)
        recording, speed = world.recording[row], world.speed[row]
        whether, which, talked_over, other = jax.random.split(change, 4)
        is_changed = is_taught & jax.random.bernoulli(whether, SPEED_CHANCE)
        speed = jnp.where(is_changed, jax.random.choice(which, jnp.asarray(SPEEDS)), speed)
        wave = self._crop(crop, world.speech, recording, speed)
        is_mixed = is_taught & jax.random.bernoulli(talked_over, OTHER_CHANCE)
        wave = jnp.where(is_mixed, self._talk_over(other, wave, world), wave)
        heard = wave
        wave = self._room(room, wave, world.rooms)
        wave = self._noise(noise, wave, world, world.voices[recording])
        wave = self._clip(clip, wave)
        wave = self._quiet(quiet, wave)
        wave = self._band(band, wave)
        wave /= jnp.maximum(jnp.abs(wave).max(), 1e-6)
        speaker = jnp.where(is_changed | is_mixed, -1, world.speaker[row])
        inputs = self._mask(mask, self._log_mel(wave))
        return inputs, heard, world.unit[row], speaker, recording

    def _crop(self, key: jax.Array, sound: _Sound, index: jax.Array, speed: jax.Array) -> jax.Array:
        """A random part at this speed; now and then 1 to 2 s of it, repeated."""
        at, whether, how_long = jax.random.split(key, 3)
        short = jax.random.randint(how_long, (), self.size // 2, self.size)
        period = jnp.where(jax.random.bernoulli(whether, self.short_chance), short, self.size)
        return self._part(at, sound, index, period, speed)

    def _talk_over(self, key: jax.Array, wave: jax.Array, world: _World) -> jax.Array:
        """Adds anybody's voice."""
        which, at, ratio = jax.random.split(key, 3)
        index = jax.random.randint(which, (), 0, len(world.voices))
        other = self._part(at, world.speech, index, self.size)
        below_db = jax.random.uniform(ratio, minval=OTHER_DB[0], maxval=OTHER_DB[1])
        return wave + _gain(wave, other, below_db) * other

    def _part(
        self,
        key: jax.Array,
        sound: _Sound,
        index: jax.Array,
        period: int | jax.Array,
        speed: float | jax.Array = 1.0,
    ) -> jax.Array:
        """(size,) of which `period` samples are a random part, or the whole recording is.

        Between two samples the line is taken as straight: a little dull, but quick.
        """
        length = sound.lengths[index]
        period = jnp.minimum(period, jnp.floor(length / speed).astype(jnp.int32))
        spare = length - jnp.ceil(period * speed).astype(jnp.int32)
        offset = jax.random.randint(key, (), 0, jnp.maximum(spare, 0) + 1)
        places = offset + jnp.arange(self.size) % period * speed
        before = jnp.floor(places).astype(jnp.int32)
        start = sound.starts[index]
        one, other = (
            sound.samples[start + jnp.minimum(place, length - 1)].astype(jnp.float32) / 32768.0
            for place in (before, before + 1)
        )
        return one + (places - before) * (other - one)

    def _room(self, key: jax.Array, wave: jax.Array, rooms: jax.Array) -> jax.Array:
        whether, which = jax.random.split(key)
        response = rooms[jax.random.randint(which, (), 0, len(rooms))]
        size = 2 * (rooms.shape[1] - 1)
        heard = jnp.fft.irfft(jnp.fft.rfft(wave, size) * response, size)[: self.size]
        return jnp.where(jax.random.bernoulli(whether, self.degradations.room_chance), heard, wave)

    def _noise(self, key: jax.Array, wave: jax.Array, world: _World, voice: jax.Array) -> jax.Array:
        settings = self.degradations
        whether, kind, ratio, *keys = jax.random.split(key, 7)
        sounds = {
            "noise": self._of_kind(keys[0], world, "noise"),
            "music": self._of_kind(keys[1], world, "music"),
            "babble": self._babble(keys[2], world, voice),
            "hiss": self._hiss(keys[3]),
        }
        of_kinds = jnp.stack([sounds[name] for name in settings.noise_kinds])
        noise = of_kinds[jax.random.randint(kind, (), 0, len(settings.noise_kinds))]
        low, high = settings.snr_db
        snr_db = jax.random.uniform(ratio, (), minval=low, maxval=high)
        mixed = wave + _gain(wave, noise, snr_db) * noise
        return jnp.where(jax.random.bernoulli(whether, settings.noise_chance), mixed, wave)

    def _of_kind(self, key: jax.Array, world: _World, kind: str) -> jax.Array:
        which, at = jax.random.split(key)
        index = jax.random.choice(which, world.noise_of_kind[kind])
        return self._part(at, world.noise, index, self.size)

    def _babble(self, key: jax.Array, world: _World, voice: jax.Array) -> jax.Array:
        """Several other voices at one level."""
        fewest, most = self.degradations.babble_voices
        count, which, at = jax.random.split(key, 3)
        others = jax.random.randint(which, (most,), 0, len(world.voices))
        parts = jax.vmap(self._part, (0, None, 0, None))(
            jax.random.split(at, most), world.speech, others, self.size
        )
        levels = jnp.maximum(jnp.sqrt(jnp.mean(parts**2, axis=1)), 1e-6)
        taken = jnp.arange(most) < jax.random.randint(count, (), fewest, most + 1)
        taken &= world.voices[others] != voice
        return jnp.sum(parts * (taken / levels)[:, None], axis=0)

    def _hiss(self, key: jax.Array) -> jax.Array:
        """Noise whose power falls with frequency to a random exponent from 0 to 2."""
        samples, slope = jax.random.split(key)
        exponent = -0.5 * jax.random.uniform(slope, (), maxval=2.0)
        spectrum = jnp.fft.rfft(jax.random.normal(samples, (self.size,)))
        shape = jnp.arange(1, len(spectrum) + 1, dtype=jnp.float32) ** exponent
        return jnp.fft.irfft(spectrum * shape, self.size)

    def _quiet(self, key: jax.Array, wave: jax.Array) -> jax.Array:
        whether, peak = jax.random.split(key)
        low, high = self.degradations.quiet_db
        peak_db = jax.random.uniform(peak, (), minval=low, maxval=high)
        scale = 32_767.0 * 10.0 ** (peak_db / 20.0) / jnp.maximum(jnp.abs(wave).max(), 1e-6)
        quiet = jnp.round(wave * scale) / 32_768.0
        return jnp.where(jax.random.bernoulli(whether, self.degradations.quiet_chance), quiet, wave)

    def _band(self, key: jax.Array, wave: jax.Array) -> jax.Array:
        settings = self.degradations
        telephone, lowpass, edge = jax.random.split(key, 3)
        is_telephone = jax.random.bernoulli(telephone, settings.telephone_chance)
        is_lowpass = jax.random.bernoulli(lowpass, settings.lowpass_chance)
        low, high = settings.lowpass_hz
        top = jax.random.uniform(edge, (), minval=low, maxval=high)
        top = jnp.where(is_lowpass, top, jnp.inf)
        top = jnp.where(is_telephone, jnp.minimum(top, 3_400.0), top)
        keep = jnp.clip((top - self.hertz) / 100.0, 0.0, 1.0)
        keep *= jnp.where(is_telephone, jnp.clip((self.hertz - 200.0) / 100.0, 0.0, 1.0), 1.0)
        limited = jnp.fft.irfft(jnp.fft.rfft(wave) * keep, self.size)
        return jnp.where(is_telephone | is_lowpass, limited, wave)

    def _clip(self, key: jax.Array, wave: jax.Array) -> jax.Array:
        whether, share = jax.random.split(key)
        level = jnp.quantile(
            jnp.abs(wave[::16]), jax.random.uniform(share, minval=0.9, maxval=0.99)
        )
        clipped = jnp.clip(wave, -level, level)
        return jnp.where(
            jax.random.bernoulli(whether, self.degradations.clip_chance), clipped, wave
        )

    def _log_mel(self, wave: jax.Array) -> jax.Array:
        """`utils.features.log_mel` of one window."""
        settings = self.features
        padded = jnp.pad(wave, (settings.n_fft - settings.hop_samples) // 2)
        places = jnp.arange(settings.frames)[:, None] * settings.hop_samples
        frames = padded[places + jnp.arange(settings.n_fft)] * frame_weights(settings)
        mel = jnp.abs(jnp.fft.rfft(frames)) ** 2 @ mel_filters(settings).T
        floor = mel.max() * 10.0 ** (-settings.dynamic_range_db / 10.0)
        logs = jnp.log(jnp.maximum(mel, jnp.maximum(floor, np.finfo(np.float32).tiny)))
        return logs - logs.mean(axis=0)

    def _mask(self, key: jax.Array, log_mel: jax.Array) -> jax.Array:
        settings = self.degradations
        whether, *keys = jax.random.split(key, 5)
        kept = jnp.ones_like(log_mel, bool)
        sides = (settings.mask_frames, settings.mask_mels)
        for axis, (most, at, width) in enumerate(zip(sides, keys[:2], keys[2:], strict=True)):
            first = jax.random.randint(at, (), 0, log_mel.shape[axis])
            end = first + jax.random.randint(width, (), 0, most + 1)
            place = jnp.arange(log_mel.shape[axis])
            inside = (place >= first) & (place < end)
            kept &= ~(inside[:, None] if axis == 0 else inside[None])
        masked = jnp.where(kept, log_mel, 0.0)
        return jnp.where(jax.random.bernoulli(whether, settings.mask_chance), masked, log_mel)
