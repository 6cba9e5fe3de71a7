"""Rooms that nobody measured: impulse responses simulated by the image method (Allen and Berkley
1979) as pyroomacoustics has it, made once and kept beside the corpus cache.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

SMALLEST_M, LARGEST_M = (2.5, 2.5, 2.3), (12.0, 9.0, 4.0)
RT60_S = (0.1, 0.9)  # time in which sound falls by 60 dB
WALL_M = 0.3  # nearest that a voice or a microphone comes to a wall
MOST_REFLECTIONS = 40  # of a path; later ones are under the noise of any recording
LENGTH_S = 0.6
SAMPLE_RATE = 16_000


def simulate_rooms(path: Path, n_rooms: int, seed: int = 1) -> None:
    """Writes float16 (n_rooms, samples), each response's largest sample 1."""
    rng = np.random.default_rng(seed)
    responses = np.zeros((n_rooms, round(LENGTH_S * SAMPLE_RATE)), np.float16)
    for row in tqdm(responses, desc="rooms", unit="room"):
        response = _response(rng)[: row.size]
        row[: response.size] = response / np.abs(response).max()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, responses)


def _response(rng: np.random.Generator) -> np.ndarray:
    """(samples,) of one shoebox: its size, damping, and the places in it are chance."""
    import pyroomacoustics

    while True:
        size = rng.uniform(SMALLEST_M, LARGEST_M)
        try:
            absorption, order = pyroomacoustics.inverse_sabine(rng.uniform(*RT60_S), size)
        except ValueError:  # no wall takes up so much sound in a room so large
            continue
        room = pyroomacoustics.ShoeBox(
            size,
            fs=SAMPLE_RATE,
            materials=pyroomacoustics.Material(absorption),
            max_order=min(order, MOST_REFLECTIONS),
        )
        room.add_source(rng.uniform(WALL_M, size - WALL_M))
        room.add_microphone(rng.uniform(WALL_M, size - WALL_M))
        room.compute_rir()
        return np.asarray(room.rir[0][0])
