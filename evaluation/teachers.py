"""Other open networks, by way of the corpus folder's `teachers.py`, which fetches and runs them.

They are compared with and learned from, never served: neither they nor that file belong to this
repository.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def load_teachers(speech: Path) -> Any:
    """The module `teachers.py` of a corpus folder; None where there is none.

    `Teacher(name).embed(wave)` gives the unit embedding (d,) of float32 (samples,) at 16 kHz,
    `NETWORKS` tells the names and what each network takes, `fetch(name)` the path of its weights.
    """
    path = speech / "teachers.py"
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location("teachers", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["teachers"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
