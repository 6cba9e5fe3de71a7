"""What several tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evaluation.postgres import new_database, running_postgres, server_folder
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


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server with pgvector, started when it is first asked for."""
    with running_postgres(server_folder()) as server:
        yield server.get_uri()


@pytest.fixture
def database(postgres: str) -> str:
    """The address of an empty database of its own."""
    return new_database(postgres)
