"""The network as it is trained: with classes over the training speakers and losses on top."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from training.fused_norm import use_fused_batch_normalization
from training.losses import SubCentres, distillation_loss, margin_loss
from training.network import NetworkSettings, build_network
from training.settings import RunSettings
from training.targets import Targets


@dataclass(frozen=True)
class Trainee:
    """Two views of the same weights."""

    network: keras.Model  # what is kept: log-mel windows -> unit embeddings
    model: keras.Model  # what is fitted, compiled: log-mel windows -> `unit` and `speaker`


def build_trainee(settings: RunSettings, network: NetworkSettings, targets: Targets) -> Trainee:
    """Fresh weights; where there is a margin softmax its centres begin at the speakers' means."""
    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_global_policy(settings.precision)
    use_fused_batch_normalization()
    kept = build_network(network)
    outputs = {"unit": kept.output}
    losses = {"unit": distillation_loss(settings.contrast_weight, settings.contrast_scale)}
    weights = {"unit": 1.0}
    if settings.margin_weight > 0.0:
        classes = SubCentres(len(targets.centroids), settings.sub_centres, name="speaker")
        outputs["speaker"] = classes(kept.output)
        classes.begin_at(targets.centroids)
        losses["speaker"] = margin_loss(settings.margin, settings.margin_scale)
        weights["speaker"] = settings.margin_weight
    model = keras.Model(kept.input, outputs)
    model.compile(
        optimizer=keras.optimizers.AdamW(
            settings.peak_rate, weight_decay=settings.weight_decay, global_clipnorm=5.0
        ),
        loss=losses,
        loss_weights=weights,
        jit_compile=keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)
    return Trainee(kept, model)
