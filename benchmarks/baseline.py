"""The original way of answering a request, as the research demonstration had it: the baseline.

    python -m benchmarks.baseline --port 5001 --gallery gallery/voice_gallery

A plain Flask application. The network is loaded once, at the start. Every request then has moviepy
write the mp4's sound to a wav file, reads that with librosa, takes librosa's log-mel, runs
`model.predict`, loads every `.npy` of the gallery and answers the one with the highest cosine. It
only asks; registering is not timed.

Nothing in it is slow on purpose: TensorFlow may use every core, moviepy reads the sound at 16 kHz
rather than at its default of 44.1 (a quarter less time), and each request has a temporary folder
of its own, so that several can run at once. It is right, too: the benchmark first checks that the
answer is the server's and the embeddings equal to a cosine of more than 0.99. `write_audiofile` is
what moviepy 2.2.1 does right; its `to_soundarray` gives a constant for short clips, and `fps` alone
drops samples without a filter (the cosine falls to 0.97), so `audio_fps` has to say it as well.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import librosa
import numpy as np
from flask import Flask, request
from moviepy import VideoFileClip  # type: ignore[import-untyped]

BEST_MODEL = Path(__file__).parent.parent / "best_model"
SAMPLE_RATE = 16_000
WINDOW, WINDOW_HOP = 2 * SAMPLE_RATE, SAMPLE_RATE  # samples
NEPERS = np.log(10) / 10  # decibels to the natural logarithm of power


def read_sound(path: str) -> np.ndarray:
    """The mp4's sound: float32 (samples,), 16 kHz, by way of a wav file."""
    with tempfile.TemporaryDirectory() as folder:
        wav = f"{folder}/sound.wav"
        with VideoFileClip(path, audio_fps=SAMPLE_RATE) as clip:
            clip.audio.write_audiofile(wav, fps=SAMPLE_RATE, logger=None)
        waveform, _ = librosa.load(wav, sr=SAMPLE_RATE)
    return waveform


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """What the network was trained on, by librosa: float32 (windows, 200, 64).

    Windows of 2 s, one each second; what is left over at the end is dropped.
    """
    rows = []
    for start in range(0, len(waveform) - WINDOW + 1, WINDOW_HOP):
        window = np.pad(waveform[start : start + WINDOW], 176)
        mel = librosa.feature.melspectrogram(
            y=window, sr=SAMPLE_RATE, n_fft=512, win_length=400, hop_length=160, center=False,
            n_mels=64,
        )  # fmt: skip
        decibels = librosa.power_to_db(mel, ref=np.max, amin=1e-30, top_db=80.0).T
        rows.append((decibels - decibels.mean(axis=0)) * NEPERS)
    return np.stack(rows).astype(np.float32)


def find_nearest(probe: np.ndarray, gallery: str) -> tuple[str, float]:
    """Loads what is enrolled, file by file, and compares: the nearest speaker's ID and cosine."""
    nearest, highest = "", -2.0
    with os.scandir(gallery) as entries:
        for entry in entries:
            if entry.name.endswith(".npy"):
                enrolled = np.load(entry.path).mean(axis=0)
                score = np.dot(probe, enrolled) / (np.linalg.norm(probe) * np.linalg.norm(enrolled))
                if score > highest:
                    nearest, highest = entry.name, float(score)
    return unquote(nearest.rpartition("-")[0]), highest


def make_app(model: keras.Model, gallery: str) -> Flask:
    app = Flask("baseline")

    @app.post("/Identification_Request")
    def identification_request() -> dict[str, Any]:
        started = time.perf_counter()
        waveform = read_sound(f"{request.form['path_dir']}/{request.form['name']}")
        decoded = time.perf_counter()
        features = log_mel(waveform)
        featured = time.perf_counter()
        probe = model.predict(features, verbose=0).mean(axis=0)
        embedded = time.perf_counter()
        speaker_id, score = find_nearest(probe, gallery)
        searched = time.perf_counter()
        seconds = {
            "decode": decoded - started,
            "features": featured - decoded,
            "embedding": embedded - featured,
            "search": searched - embedded,
            "total": searched - started,
        }
        return {
            "100001": f"Voice Based Speaker Recognition - Speaker ID: {speaker_id}",
            "speaker_id": speaker_id,
            "score": score,
            "timings_ms": {part: round(1e3 * value, 2) for part, value in seconds.items()},
        }

    @app.post("/embedding")
    def embedding() -> list[float]:
        """What the benchmark compares with the server's before it measures anything."""
        waveform = read_sound(f"{request.form['path_dir']}/{request.form['name']}")
        mean: list[float] = model.predict(log_mel(waveform), verbose=0).mean(axis=0).tolist()
        return mean

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="The original way of answering a request.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gallery", required=True, help="folder of the .npy files")
    arguments = parser.parse_args()
    manifest = json.loads((BEST_MODEL / "model.json").read_text(encoding="utf-8"))
    name = manifest["files"]["keras"]["name"]
    model = keras.saving.load_model(BEST_MODEL / name, compile=False)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    make_app(model, arguments.gallery).run("127.0.0.1", arguments.port, threaded=True)


if __name__ == "__main__":
    main()
