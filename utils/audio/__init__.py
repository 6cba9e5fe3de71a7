"""From a recording to a wave: `decode` takes any common audio or video file.

`source` bounds and walls off what FFmpeg reads, `decoding` finds the sound in it, `wave` makes
one mono wave of what was decoded. `cage` decodes in processes apart.
"""

from utils.audio.decoding import AudioLimits, decode
from utils.audio.wave import SAMPLE_RATE

__all__ = ["SAMPLE_RATE", "AudioLimits", "decode"]
