"""What the network learns: to say of a degraded window what the teacher says of the recording,
and to tell the training speakers apart.
"""

from __future__ import annotations

import keras
from keras import ops


def distillation_loss(contrast_weight: float, contrast_scale: float):
    """Cosine distance to the teacher's embedding, and to its view of the rest of the batch.

    The second part asks that a student embedding finds the recordings of the batch as near or far
    as the teacher finds them: the Kullback-Leibler divergence between two softmax distributions
    over the batch (similarity distillation, as in Passalis and Tefas 2018).

    Returns:
        A loss of targets and outputs, both (batch, size) with rows of length 1.
    """

    def loss(targets, outputs):
        targets, outputs = ops.cast(targets, "float32"), ops.cast(outputs, "float32")
        cosine = ops.sum(targets * outputs, axis=-1)
        wanted = contrast_scale * ops.matmul(targets, ops.transpose(targets))
        found = contrast_scale * ops.matmul(outputs, ops.transpose(targets))
        log_wanted, log_found = ops.log_softmax(wanted), ops.log_softmax(found)
        divergence = ops.sum(ops.exp(log_wanted) * (log_wanted - log_found), axis=-1)
        return ops.mean(1.0 - cosine) + contrast_weight * ops.mean(divergence)

    return loss


def margin_loss(margin: float, scale: float):
    """Additive angular margin softmax (AAM; Deng et al. 2019) over the training speakers.

    Windows of speakers with too few recordings to have a class, label -1, take no part.

    Returns:
        A loss of labels (batch,) and of the cosines to the classes, (batch, classes).
    """

    def loss(labels, cosines):
        labels = ops.cast(ops.reshape(labels, (-1,)), "int32")
        cosines = ops.clip(ops.cast(cosines, "float32"), -1.0 + 1e-6, 1.0 - 1e-6)
        own = ops.one_hot(ops.maximum(labels, 0), cosines.shape[-1], dtype="float32")
        # past pi - margin the angle would wrap: there the margin is taken off the cosine itself
        angles = ops.arccos(cosines)
        nearer = ops.where(
            angles < 3.14159 - margin, ops.cos(angles + margin), cosines - margin * ops.sin(margin)
        )
        logits = scale * (own * nearer + (1.0 - own) * cosines)
        entropy = -ops.sum(own * ops.log_softmax(logits), axis=-1)
        counted = ops.cast(labels >= 0, "float32")
        return ops.sum(entropy * counted) / ops.maximum(ops.sum(counted), 1.0)

    return loss


class SubCentres(keras.layers.Layer):
    """Cosines of embeddings to every class, each the nearest of its centres (Deng et al. 2020).

    (batch, size), rows of length 1 -> (batch, classes) float32
    """

    def __init__(self, classes: int, centres: int, **options: object) -> None:
        super().__init__(dtype="float32", **options)
        self.classes = classes
        self.centres = centres

    def build(self, shape: tuple[int | None, int]) -> None:
        self.kernel = self.add_weight(
            shape=(shape[-1], self.centres * self.classes),
            initializer=keras.initializers.RandomNormal(stddev=shape[-1] ** -0.5),
            name="kernel",
        )

    def call(self, embeddings):
        directions = ops.normalize(self.kernel, axis=0)
        cosines = ops.matmul(embeddings, directions)
        return ops.max(ops.reshape(cosines, (-1, self.centres, self.classes)), axis=1)

    def begin_at(self, centroids) -> None:
        """Puts every centre near its class's centroid: (classes, size), rows of length 1."""
        noise = keras.random.normal((*self.kernel.shape,), stddev=0.02)
        tiled = ops.tile(ops.transpose(ops.convert_to_tensor(centroids)), (1, self.centres))
        self.kernel.assign(tiled + noise)
