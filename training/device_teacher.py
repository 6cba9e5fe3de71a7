"""The teacher on the device, so that it can hear every window of a batch that is made there.

CAM++ (Wang et al. 2023) for windows of 2 s, in JAX, with the weights of the ONNX file that
`teachers.py` leaves. A teacher that hears what the student hears needs no list of windows made
ahead, and no window comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

WEIGHTS = "teacher-campplus-weights.npz"
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers, dilation
MELS = 80
FFT, FRAME, HOP = 512, 400, 160  # samples
SEGMENT_FRAMES = 100  # of the context: a window may not be longer

Weights = list[tuple[jax.Array, ...]]
Layers = Iterator[tuple[jax.Array, ...]]  # those that are still to be used


def write_weights(onnx_path: Path, cache: Path) -> Path:
    """Takes them out of the ONNX file, as float16, in the order in which the network uses them."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(onnx_path).graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    arrays |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant"
    }
    layers = [node for node in graph.node if node.op_type in ("Conv", "BatchNormalization")]
    kept = {
        f"{number:03}-{place}": arrays[name].astype(np.float16)
        for number, node in enumerate(layers)
        for place, name in enumerate(node.input[1:])
    }
    np.savez(cache / WEIGHTS, **kept)
    return cache / WEIGHTS


def read_weights(cache: Path) -> Weights:
    """A tuple a layer: kernel and, where it has one, bias; or scale, shift, mean and variance.

    Raises:
        SystemExit: they were not written.
    """
    path = cache / WEIGHTS
    if not path.exists():
        raise SystemExit(f"{path} is missing: `python -m training teach --weights` writes it")
    layers: dict[str, list[jax.Array]] = {}
    with np.load(path) as saved:
        for name in sorted(saved):
            layers.setdefault(name.split("-")[0], []).append(jnp.asarray(saved[name], jnp.float32))
    return [tuple(arrays) for arrays in layers.values()]


def embed(weights: Weights, waves: jax.Array, precision: jnp.dtype = jnp.float32) -> jax.Array:
    """(windows, samples) of at most 2 s -> (windows, 192) float32, rows of length 1."""
    layers = iter(weights)
    x = _log_mel(waves).astype(precision).transpose(0, 2, 1)[:, None]  # (windows, 1, mels, frames)
    x = jax.nn.relu(_convolve(layers, x))
    for stride in (2, 1, 2, 1):
        x = _residual(layers, x, stride)
    x = jax.nn.relu(_convolve(layers, x, (2, 1)))
    x = x.reshape(len(x), -1, x.shape[-1])
    x = jax.nn.relu(_convolve(layers, x, (2,)))
    for count, dilation in BLOCKS:
        for _ in range(count):
            x = jnp.concatenate([x, _dense(layers, x, dilation)], axis=1)
        x = _convolve(layers, jax.nn.relu(_normalise(layers, x)))
    x = jax.nn.relu(x).astype(jnp.float32)  # its normalisation is in the last convolution
    x = jnp.concatenate([x.mean(-1), x.std(-1, ddof=1)], axis=1)[..., None]
    x = _normalise(layers, _convolve(layers, x))[..., 0]
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def _residual(layers: Layers, x: jax.Array, stride: int) -> jax.Array:
    y = jax.nn.relu(_convolve(layers, x, (stride, 1)))
    if stride > 1:  # the file has the shortcut between the two
        x = _convolve(layers, x, (stride, 1))
    return jax.nn.relu(_convolve(layers, y) + x)


def _dense(layers: Layers, x: jax.Array, dilation: int) -> jax.Array:
    y = jax.nn.relu(_normalise(layers, x))
    y = jax.nn.relu(_convolve(layers, y))
    assert y.shape[-1] <= SEGMENT_FRAMES  # so the one segment of the context is the whole window
    context = 2.0 * y.mean(-1, keepdims=True)
    gate = jax.nn.relu(_convolve(layers, context))
    gate = jax.nn.sigmoid(_convolve(layers, gate))
    return _convolve(layers, y, dilation=dilation) * gate


def _convolve(
    layers: Layers,
    x: jax.Array,
    strides: tuple[int, ...] | None = None,
    dilation: int = 1,
) -> jax.Array:
    """The next layer, padded so that a stride of 1 leaves the size of (windows, channels, ...)."""
    kernel, *bias = next(layers)
    sizes = kernel.shape[2:]
    y = jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        strides or (1,) * len(sizes),
        [(dilation * (size // 2),) * 2 for size in sizes],
        rhs_dilation=(dilation,) * len(sizes),
    )
    return y + bias[0].astype(x.dtype).reshape(-1, *(1 for _ in sizes)) if bias else y


def _normalise(layers: Layers, x: jax.Array) -> jax.Array:
    scale, shift, mean, variance = next(layers)
    scale = scale / jnp.sqrt(variance + 1e-5)
    shift = shift - mean * scale
    return x * scale.astype(x.dtype)[:, None] + shift.astype(x.dtype)[:, None]


def _log_mel(waves: jax.Array) -> jax.Array:
    """Kaldi's filter bank: (windows, samples) -> (windows, frames, MELS), mean 0 over frames."""
    count = 1 + (waves.shape[1] - FRAME) // HOP
    frames = waves[:, np.arange(count)[:, None] * HOP + np.arange(FRAME)]
    frames -= frames.mean(-1, keepdims=True)
    before = jnp.concatenate([frames[..., :1], frames[..., :-1]], axis=-1)
    frames = (frames - 0.97 * before) * np.float32(np.hanning(FRAME) ** 0.85)  # Povey's window
    power = jnp.abs(jnp.fft.rfft(frames, FFT)) ** 2
    logs = jnp.log(jnp.maximum(power @ _mel_filters(), np.finfo(np.float32).eps))
    return logs - logs.mean(1, keepdims=True)


def _mel_filters() -> np.ndarray:
    """(FFT // 2 + 1, MELS): triangles that are straight in mel from 20 Hz to 8 kHz."""
    hertz = np.arange(FFT // 2 + 1) * 16_000 / FFT
    mel = 1127.0 * np.log1p(hertz / 700.0)[:, None]
    edges = np.linspace(*1127.0 * np.log1p(np.array([20.0, 8_000.0]) / 700.0), MELS + 2)
    rise = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    found: np.ndarray = np.maximum(0.0, np.minimum(rise, fall)).astype(np.float32)
    return found
