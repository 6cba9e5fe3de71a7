"""The teacher under JAX says what its ONNX file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax")

import jax

from evaluation.teachers import load_teachers
from training.device_teacher import embed, read_weights, write_weights

SPEECH = Path(__file__).parent.parent.parent / "shared" / "speech"


def test_missing_weights_are_named_with_the_command_that_writes_them(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="teach --weights"):
        read_weights(tmp_path)


def test_it_says_of_a_window_what_the_file_says(tmp_path: Path) -> None:
    teachers = load_teachers(SPEECH)
    files = sorted(Path(teachers.FOLDER).glob("campplus-*.onnx")) if teachers else []
    if not files:
        pytest.skip("the teacher was not fetched here")
    weights = read_weights(write_weights(files[0], tmp_path).parent)
    waves = np.random.default_rng(0).normal(0.0, 0.1, (2, 32_000)).astype(np.float32)
    found = np.asarray(jax.jit(embed)(weights, waves))
    wanted = teachers.Teacher("campplus").embed_batch(waves)
    np.testing.assert_allclose(np.sum(found * wanted, axis=1), 1.0, atol=1e-3)
