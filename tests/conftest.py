"""What several tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from utils.audio import decode

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def clip() -> Path:
    """A sample recording: 4 to 8 s of one voice, H.264 and AAC."""
    return DATA / "ast1@example.org-0.mp4"


@pytest.fixture(scope="session")
def voice(clip: Path) -> np.ndarray:
    """(samples,) float32, 16 kHz: that recording's sound."""
    return decode(clip)
