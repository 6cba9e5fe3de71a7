"""Batch normalisation by TensorFlow's fused kernel while training on CPU.

Keras computes it from single operations in float32; on two CPU cores that was a third of a
training step in bfloat16 (95 against 137 windows a second). The mathematics is the same, so the
weights fit the plain layer.
"""

from __future__ import annotations

import keras


def use_fused_batch_normalization() -> None:
    """Replaces `BatchNormalization.call` for this process; only under TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return
    keras.layers.BatchNormalization.call = _fused_call


def _fused_call(layer, inputs, training=None, mask=None):
    import tensorflow as tf

    image = inputs if len(inputs.shape) == 4 else tf.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))
    empty = tf.zeros(0, tf.float32)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=image,
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=empty if training else layer.moving_mean.value,
        variance=empty if training else layer.moving_variance.value,
        epsilon=layer.epsilon,
        is_training=bool(training),
    )
    if training:
        for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + now * (1.0 - layer.momentum))
    return tf.reshape(outputs, tf.shape(inputs))
