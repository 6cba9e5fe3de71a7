"""What a codec leaves of a voice: coded and decoded again in memory, for tests and for training.

GSM's full-rate coder is not in FFmpeg's build for Python; its enhanced full-rate coder (ETSI
EN 300 726) is, as the 12.2 kbit/s mode of AMR (3GPP TS 26.071), and stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from utils.audio import SAMPLE_RATE

Wave = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Codec:
    encoder: str
    decoder: str
    rate: int  # Hz, of what is coded
    sample_format: str
    bits_per_s: int | None = None
    delay: int = 0  # samples at 16 kHz by which what is decoded comes late


_CODECS = {
    "aac": _Codec("aac", "aac", 16_000, "fltp", 24_000, delay=1_024),
    "opus": _Codec("libopus", "opus", 16_000, "flt", 12_000),
    "mp3": _Codec("libmp3lame", "mp3float", 16_000, "fltp", 32_000),
    "gsm": _Codec("libopencore_amrnb", "amrnb", 8_000, "s16", 12_200, delay=75),
    "amr-like": _Codec("libopencore_amrnb", "amrnb", 8_000, "s16", 5_900, delay=75),
    "g711": _Codec("pcm_mulaw", "pcm_mulaw", 8_000, "s16"),
}
CODECS = tuple(_CODECS)


def round_trip(waveform: Wave, codec: str) -> Wave:
    """Codes and decodes a waveform.

    Args:
        waveform: (samples,) at 16 kHz; what is beyond [-1, 1] is cut off.
        codec: one of `CODECS`.

    Returns:
        (samples,) float32 at 16 kHz, in time with what came in.
    """
    chosen = _CODECS[codec]
    encoder: Any = av.CodecContext.create(chosen.encoder, "w")
    encoder.sample_rate, encoder.layout, encoder.format = chosen.rate, "mono", chosen.sample_format
    if chosen.bits_per_s:
        encoder.bit_rate = chosen.bits_per_s
    encoder.open()
    # the tail is silence, so that nothing of the voice stays behind in the coder
    padded = np.pad(np.clip(waveform, -1.0, 1.0), (0, SAMPLE_RATE // 5))
    packets: list[Any] = []
    for frame in _frames(padded, chosen, encoder.frame_size or 1_024):
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = _decoded(packets, chosen, encoder.extradata)
    decoded = decoded[chosen.delay : chosen.delay + waveform.size]
    return np.pad(decoded, (0, waveform.size - decoded.size))


def _frames(waveform: Wave, codec: _Codec, size: int) -> list[av.AudioFrame]:
    """The waveform at the codec's rate, in frames of its size, the last one filled up."""
    whole = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(waveform[None], np.float32), format="flt", layout="mono"
    )
    whole.sample_rate = SAMPLE_RATE
    resampler = av.AudioResampler(format=codec.sample_format, layout="mono", rate=codec.rate)
    pieces = [
        frame.to_ndarray() for frame in (*resampler.resample(whole), *resampler.resample(None))
    ]
    samples = np.concatenate(pieces, axis=1)
    samples = np.pad(samples, ((0, 0), (0, -samples.shape[1] % size)))
    frames = []
    for first in range(0, samples.shape[1], size):
        part = np.ascontiguousarray(samples[:, first : first + size])
        frame = av.AudioFrame.from_ndarray(part, format=codec.sample_format, layout="mono")
        frame.sample_rate, frame.pts = codec.rate, first
        frames.append(frame)
    return frames


def _decoded(packets: list[Any], codec: _Codec, extradata: bytes | None) -> Wave:
    decoder: Any = av.CodecContext.create(codec.decoder, "r")
    decoder.sample_rate, decoder.layout = codec.rate, "mono"
    if extradata:
        decoder.extradata = extradata
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    pieces: list[Wave] = []
    for packet in (*packets, None):
        for frame in decoder.decode(packet):
            frame.pts = None
            pieces += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    pieces += [out.to_ndarray()[0] for out in resampler.resample(None)]
    return np.concatenate(pieces)
