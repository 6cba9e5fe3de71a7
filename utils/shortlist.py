"""A first look at very many voices: 8-bit copies tell which few can be among the nearest.

A pass over all of them takes as long as the memory needs to hand them over, and these are a quarter
of float32. What they leave open is scored exactly afterwards (`utils/scoring.py`), so that nothing
is lost. NumPy has no quick product of 8-bit numbers; ONNX Runtime has.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

# Steps from 0 to 1. Processors without instructions for it add products in pairs of 16 bits, which
# saturate: of two numbers of vectors of this length, 128 * 2**0.5 * 110 + 110**2 stays below 2**15.
_STEPS = 110
_ZERO = 128  # the code of 0
# A coded number is off by half a step at most, a row of 64 by a vector of this length at most. A
# score is off by the row's error times the probe's length, and by the probe's error times the
# length of the coded row. Lengths may be off by a thousandth (`utils.scoring.UNIT_TOLERANCE`).
_ROW_ERROR = 0.5 / _STEPS * 64**0.5
_ERROR = _ROW_ERROR * (2.0 + _ROW_ERROR) + 2e-3
_BLOCK = 1024  # rows of which only the best is looked at to find the cut
_ENCODED = 1 << 16  # rows at once
# An ONNX file: `scores`, int32 (n, 1), is MatMulInteger(`codes`, uint8 (n, 64), `probe`, int8
# (64, 1), a zero point of 128). The package that writes such files is no part of the server.
_PRODUCTS = bytes.fromhex(
    "080812003a93010a2b0a05636f6465730a0570726f62650a047a65726f120673636f726573220d4d"
    "61744d756c496e7465676572120870726f64756374732a0c10022a02800142047a65726f5a180a05"
    "636f646573120f0a0d080212090a0312016e0a0208405a170a0570726f6265120e0a0c080312080a"
    "0208400a02080162190a0673636f726573120f0a0d080612090a0312016e0a02080142040a00100d"
)


def encode(rows: np.ndarray) -> np.ndarray:
    """Makes the 8-bit copies.

    Args:
        rows: float32 (n, 64), each of length 1.

    Returns:
        uint8 (n, 64).
    """
    codes = np.empty(rows.shape, np.uint8)
    for first in range(0, len(rows), _ENCODED):
        part = rows[first : first + _ENCODED] * np.float32(_STEPS)
        codes[first : first + _ENCODED] = np.rint(part, out=part) + np.float32(_ZERO)
    return codes


def shortlist(probe: np.ndarray, codes: np.ndarray, top: int) -> np.ndarray:
    """The rows among which the best `top` certainly are, ties with the last one included.

    Args:
        probe: float32 (64,) of length 1.
        codes: uint8 (n, 64), of rows of length 1.
        top: at least 1.

    Returns:
        Row numbers, ascending, at least min(top, n).
    """
    if len(codes) < (top + 1) * _BLOCK:
        return np.arange(len(codes))
    coded_probe = np.rint(probe * _STEPS).astype(np.int8)
    (scores,) = _products().run(None, {"codes": codes, "probe": coded_probe[:, np.newaxis]})
    rough = scores[:, 0]  # int32 (n,): cosines, times the steps' square
    bests = np.maximum.reduceat(rough, np.arange(0, len(rough), _BLOCK))  # of each block
    # the block of each of the best `top` bests has one row as good, so `top` rows reach this
    reached = np.partition(bests, len(bests) - top)[len(bests) - top]
    # theirs and another row's score may both be off, in opposite directions
    cut = reached - np.int32(np.ceil(2.0 * _ERROR * _STEPS**2))
    return np.flatnonzero(rough >= cut)


@lru_cache(maxsize=1)
def _products() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(_PRODUCTS, options, providers=["CPUExecutionProvider"])
