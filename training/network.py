"""The CRNN-attention network: log-mel windows in, 64-number embeddings of length 1 out.

Written in Keras 3 layers only, so that it runs under TensorFlow, JAX and PyTorch alike
(`KERAS_BACKEND` chooses). `training/export.py` writes the same network as ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers, ops


@dataclass(frozen=True)
class NetworkSettings:
    """The network's shape; saved beside its weights."""

    frames: int = 200
    mels: int = 64
    embedding_size: int = 64
    stem_channels: int = 32
    stage_channels: tuple[int, int] = (48, 96)  # each stage halves mels; the second, frames too
    projection_units: int = 192  # a frame's row on its way into the recurrent layer
    recurrent_units: int = 192  # in each direction
    attention_units: int = 128


@keras.saving.register_keras_serializable(package="speaker")
class AttentiveStatistics(layers.Layer):
    """Attention-weighted mean and standard deviation over time (Okabe et al. 2018).

    One weight a frame and channel; the attention also sees the window's plain mean and standard
    deviation, as in ECAPA-TDNN (Desplanques et al. 2020).

    (batch, frames, channels) -> (batch, 2 * channels)
    """

    def __init__(self, units: int, **options: object) -> None:
        super().__init__(**options)
        self.units = units
        self.hidden = layers.Dense(units, activation="tanh", name="hidden")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        self.logits = layers.Dense(channels, name="logits")
        self.hidden.build((*input_shape[:-1], 3 * channels))
        self.logits.build((*input_shape[:-1], self.units))
        super().build(input_shape)

    def call(self, rows):  # (batch, frames, channels)
        mean, deviation = self._moments(rows, 1.0 / ops.cast(ops.shape(rows)[1], rows.dtype))
        context = ops.concatenate([mean, deviation], axis=-1)  # (batch, 1, 2 * channels)
        context = ops.broadcast_to(context, (*ops.shape(rows)[:2], context.shape[-1]))
        hidden = self.hidden(ops.concatenate([rows, context], axis=-1))
        weights = ops.softmax(self.logits(hidden), axis=1)  # over time, a channel at a time
        pooled = ops.concatenate(self._moments(rows, weights), axis=-1)
        return ops.squeeze(pooled, axis=1)

    @staticmethod
    def _moments(rows, weights):
        mean = ops.sum(rows * weights, axis=1, keepdims=True)
        variance = ops.sum(ops.square(rows - mean) * weights, axis=1, keepdims=True)
        return mean, ops.sqrt(variance + 1e-5)  # the floor keeps the root's gradient finite

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 2 * input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def build_network(settings: NetworkSettings = NetworkSettings()) -> keras.Model:
    """Makes the network with fresh weights.

    Returns:
        A model from float32 (batch, frames, mels) log-mel windows to float32
        (batch, embedding_size), rows of length 1.
    """
    inputs = keras.Input((settings.frames, settings.mels), name="log_mel")
    x = layers.Reshape((settings.frames, settings.mels, 1), name="image")(inputs)
    x = _convolution(x, settings.stem_channels, strides=(2, 2), name="stem")
    x = layers.ReLU(name="stem_relu")(x)
    for number, channels in enumerate(settings.stage_channels, 1):
        strides = (1, 2) if number == 1 else (2, 2)
        x = _residual_block(x, channels, strides, name=f"stage{number}")
    _, frames, mels, channels = x.shape
    x = layers.Reshape((frames, mels * channels), name="rows")(x)
    x = layers.Dense(settings.projection_units, use_bias=False, name="projection")(x)
    x = layers.BatchNormalization(name="projection_norm")(x)
    x = layers.ReLU(name="projection_relu")(x)
    recurrent = layers.GRU(settings.recurrent_units, return_sequences=True, name="gru")
    x = layers.Bidirectional(recurrent, name="recurrent")(x)
    x = AttentiveStatistics(settings.attention_units, name="pooling")(x)
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
