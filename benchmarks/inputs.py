"""What is measured on: a recording of so many seconds, galleries of so many speakers."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from utils.gallery.npy import encode_embeddings
from utils.scoring import EMBEDDING_SIZE
from utils.speaker_id import recording_file_name

N_SEGMENTS = 5  # of one enrolment: a recording of 6 s
SPREAD = 0.3  # of a speaker's segments about their mean, whose length is 1


def cut_recording(source: Path, target: Path, seconds: float) -> None:
    """Copies the beginning of a recording, picture and sound, as they are coded."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as cut:
        copies = {stream.index: cut.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.pts is not None and float(packet.pts * packet.time_base) < seconds:
                packet.stream = copies[packet.stream.index]
                cut.mux(packet)


def fill_gallery(folder: Path, n_speakers: int, seed: int = 0) -> None:
    """Writes one file a speaker into `folder`/voice_gallery, as if they had been copied in.

    None is seen to the disk by itself: ten thousand registrations would take minutes. The server
    takes the files in when it starts.
    """
    rng = np.random.default_rng(seed)
    (folder / "voice_gallery").mkdir(parents=True, exist_ok=True)
    for number in range(n_speakers):
        voice = rng.normal(size=EMBEDDING_SIZE)
        voice /= np.linalg.norm(voice)
        spread = rng.normal(size=(N_SEGMENTS, EMBEDDING_SIZE)) * SPREAD / EMBEDDING_SIZE**0.5
        segments = voice + spread
        segments /= np.linalg.norm(segments, axis=1, keepdims=True)
        name = recording_file_name(f"speaker{number:06}@example.org", "0")
        (folder / "voice_gallery" / name).write_bytes(encode_embeddings(segments))
