"""What the network learns: to say of a degraded window what the teacher says of the recording."""

from __future__ import annotations

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
