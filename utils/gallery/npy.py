"""The bytes of a recording's embeddings: a plain .npy file, read with suspicion."""

from __future__ import annotations

import io
import re
from typing import Literal

import numpy as np

from utils.scoring import EMBEDDING_SIZE, centroid, check_unit_rows

MAX_FILE_BYTES = 4 * 2**20  # 16,000 segments: hours of one speaker
_HEADER_FIELD = re.compile(rb"'(\w+)':\s*('[^']*'|True|False|\([\d, ]*\))")
_SHAPE = re.compile(rb"\((\d{1,12}), *%d,?\)" % EMBEDDING_SIZE)


def encode_embeddings(embeddings: np.ndarray) -> bytes:
    """Makes the bytes of a recording's file: .npy, little-endian float32.

    Args:
        embeddings: (segments, 64) floats, segments at least 1, rows of unit length.

    Raises:
        ValueError: another shape, a row of another length, rows that cancel out, or a file of
            more than 4 MiB.
    """
    check_unit_rows(embeddings)
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(embeddings, "<f4"), allow_pickle=False)
    data = buffer.getvalue()
    decode_embeddings(data)
    return data


def decode_embeddings(data: bytes) -> np.ndarray:
    """Reads the bytes of a recording's file.

    Not by `np.load`: that hands the header to Python's own parser, which answers a hostile one
    with any exception, and allocates what the header asks for.

    Returns:
        float32 (segments, 64), rows of unit length.

    Raises:
        ValueError: torn, not .npy, of another type or shape, rows not of unit length or
            cancelling out, more than 4 MiB.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
    if len(data) < 12 or not data.startswith(b"\x93NUMPY"):
        raise ValueError("not an .npy file: its first bytes are others")
    at = 10 if data[6] == 1 else 12  # version 1 has two bytes for the header's length, 2 has four
    body_at = at + int.from_bytes(data[8:at], "little")
    header = data[at:body_at]
    fields = dict(_HEADER_FIELD.findall(header))
    shaped = _SHAPE.fullmatch(fields.get(b"shape", b""))
    if not shaped or fields.get(b"descr") != b"'<f4'":
        found = header[:100].decode("latin1")
        raise ValueError(f"not float32 (segments, {EMBEDDING_SIZE}): {found}")
    shape = (int(shaped[1]), EMBEDDING_SIZE)
    body = data[body_at:]
    if len(body) != shape[0] * shape[1] * 4:
        raise ValueError(f"{len(body)} bytes of values do not make {shape}")
    order: Literal["F", "C"] = "F" if fields.get(b"fortran_order") == b"True" else "C"
    embeddings = np.frombuffer(body, "<f4").reshape(shape, order=order)
    centroid(embeddings)
    return embeddings
