"""What `tests/test_openapi.py` has schemathesis send: real recordings among the broken ones.

Left to itself it makes bytes that are no recording, and IDs of nobody: it would see errors only.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st

from tests import media
from tests.api import clip, name
from utils.audio import SAMPLE_RATE, decode

KNOWN = (1, 2)  # sample voices that are enrolled before
SECONDS = 3.5  # each; more would only take longer


def _short(speaker: int) -> bytes:
    wave = decode(clip(speaker, 1))[: round(SECONDS * SAMPLE_RATE)]
    return media.wav((32_767 * wave).astype(np.int16)[:, None], SAMPLE_RATE)


RECORDINGS = [_short(speaker) for speaker in (*KNOWN, 3)]
BROKEN = [b"", b"no recording", RECORDINGS[0][:5_000]]

schemathesis.openapi.format("binary", st.sampled_from(RECORDINGS + BROKEN))
schemathesis.openapi.format(
    "byte", st.sampled_from([base64.b64encode(each).decode() for each in RECORDINGS + BROKEN])
)


@schemathesis.hook
def map_path_parameters(_: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Asks every second time about somebody who is enrolled."""
    asked = (path_parameters or {}).get("speaker_id")
    if path_parameters and isinstance(asked, str) and len(asked) % 2:
        path_parameters["speaker_id"] = name(KNOWN[0])
    return path_parameters


@schemathesis.hook
def map_query(_: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Leaves three of four requests in the collection that there is."""
    asked = (query or {}).get("collection")
    if query and isinstance(asked, str) and len(asked) % 4 != 1:
        query["collection"] = "default"
    return query


@schemathesis.hook
def map_body(_: Any, body: Any) -> Any:
    """The same for an ID in a body."""
    if isinstance(body, dict) and isinstance(body.get("speaker_id"), str):
        body["speaker_id"] = name(KNOWN[len(body["speaker_id"]) % 2])
    return body
