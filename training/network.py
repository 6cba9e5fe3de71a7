"""The CRNN-attention network: log-mel windows in, 64-number embeddings of length 1 out.

Written in Keras 3 layers only, so that it runs under TensorFlow, JAX and PyTorch alike
(`KERAS_BACKEND` chooses). `training/export.py` writes the same network as ONNX.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops


@dataclass(frozen=True)
class NetworkSettings:
    """The network's shape; saved beside its weights."""

    mels: int = 64
    embedding_size: int = 64
    stem_channels: int = 32
    stage_channels: tuple[int, ...] = (48, 96)
    stage_strides: tuple[tuple[int, int], ...] = ((1, 2), (2, 2))  # of frames and mels
    projection_units: int = 192  # a frame's row on its way into the recurrent layer
    recurrent_units: int = 192  # in each direction
    attention_units: int = 128


def network_settings(values: Mapping[str, Any]) -> NetworkSettings:
    """Makes them of what JSON has, where tuples are lists; what is not named is the default.

    Raises:
        TypeError: there is no such setting.

    Example:
        >>> network_settings({"stage_channels": [48, 64]}).stage_channels
        (48, 64)
    """

    def in_tuples(value: Any) -> Any:
        return tuple(map(in_tuples, value)) if isinstance(value, list) else value

    return NetworkSettings(**{name: in_tuples(value) for name, value in values.items()})


def build_network(settings: NetworkSettings = NetworkSettings()) -> keras.Model:
    """Makes the network with fresh weights.

    Returns:
        A model from float32 (batch, frames, mels) log-mel windows, any number of frames, to
        float32 (batch, embedding_size), rows of length 1.
    """
    inputs = keras.Input((None, settings.mels), name="log_mel")
    x = layers.Reshape((-1, settings.mels, 1), name="image")(inputs)
    x = _convolution(x, settings.stem_channels, strides=(2, 2), name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    stages = zip(settings.stage_channels, settings.stage_strides, strict=True)
    for number, (channels, strides) in enumerate(stages, 1):
        x = _residual_block(x, channels, strides, name=f"stage{number}")
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]), name="rows")(x)
    x = layers.Dense(settings.projection_units, use_bias=False, name="projection")(x)
    x = layers.BatchNormalization(name="projection_norm")(x)
    x = layers.ReLU(name="projection_relu")(x)
    recurrent = layers.GRU(settings.recurrent_units, return_sequences=True, name="gru")
    x = layers.Bidirectional(recurrent, name="recurrent")(x)
    x = _attentive_statistics(x, settings.attention_units)
    x = layers.BatchNormalization(name="pooling_norm")(x)
    x = layers.Dense(settings.embedding_size, name="embedding")(x)
    outputs = layers.UnitNormalization(name="unit", dtype="float32")(x)
    return keras.Model(inputs, outputs, name="speaker_crnn_attention")


def _convolution(x, channels: int, strides: tuple[int, int], name: str, size: int = 3):
    x = layers.Conv2D(
        channels, size, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def _residual_block(x, channels: int, strides: tuple[int, int], name: str):
    y = _convolution(x, channels, strides, name=f"{name}_a")
    y = layers.ReLU(name=f"{name}_a_relu")(y)
    y = _convolution(y, channels, (1, 1), name=f"{name}_b")
    shortcut = _convolution(x, channels, strides, name=f"{name}_shortcut", size=1)
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([y, shortcut]))


def _attentive_statistics(rows, units: int):
    """Attention-weighted mean and standard deviation over time (Okabe et al. 2018).

    One weight a frame and channel; the attention also sees the plain mean and standard deviation
    of all frames, as in ECAPA-TDNN (Desplanques et al. 2020). Written in ops rather than as a
    layer class, so that the saved file opens without any code of ours.

    (batch, frames, channels) -> (batch, 2 * channels)
    """
    plain = ops.concatenate(_moments(rows, ops.mean), axis=-1)  # (batch, 1, 2 * channels)
    hidden = layers.Dense(units, name="attention_rows")(rows)
    hidden += layers.Dense(units, use_bias=False, name="attention_context")(plain)
    logits = layers.Dense(rows.shape[-1], name="attention_logits")(ops.tanh(hidden))
    weights = ops.softmax(logits, axis=1)  # over time, a channel at a time

    def weighted(values, axis, keepdims):
        return ops.sum(values * weights, axis=axis, keepdims=keepdims)

    return ops.squeeze(ops.concatenate(_moments(rows, weighted), axis=-1), axis=1)


def _moments(rows, average):
    """Mean and standard deviation over time by this way of averaging, each (batch, 1, channels)."""
    mean = average(rows, axis=1, keepdims=True)
    variance = average(ops.square(rows - mean), axis=1, keepdims=True)
    return mean, ops.sqrt(variance + 1e-5)  # the floor keeps the root's gradient finite


def multiply_adds(model: keras.Model, frames: int = 200) -> int:
    """Multiply-adds of one window in its convolutions, dense layers and recurrent layer."""
    mels = model.input_shape[-1]
    outputs = [layer.output for layer in model.layers]
    shapes = keras.Model(model.input, outputs).compute_output_shape((1, frames, mels))
    total = 0
    for layer, shape in zip(model.layers, shapes, strict=True):
        positions = math.prod(shape[1:-1])  # where the layer's kernel is applied
        if isinstance(layer, layers.Conv2D | layers.Dense):
            total += positions * math.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Bidirectional):
            kernels = (weight for weight in layer.weights if "bias" not in weight.path)
            total += positions * sum(math.prod(kernel.shape) for kernel in kernels)
    return total
