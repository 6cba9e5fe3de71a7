"""How long the stages of one request took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Times the stages of one request, from when it is made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what is done inside it; a stage may come several times."""
        started = time.perf_counter()
        yield
        self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - started

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds of each stage, and of all since the clock was made as `total`."""
        total = time.perf_counter() - self._started
        return {name: round(1e3 * s, 2) for name, s in {**self._stages, "total": total}.items()}
