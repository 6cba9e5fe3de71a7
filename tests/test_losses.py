"""Losses against what they say they are, and gradients that are finite where angles are extreme."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from training.losses import SubCentres, distillation_loss, margin_loss  # noqa: E402


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_student_that_says_what_the_teacher_says_has_no_loss() -> None:
    rows = unit(np.random.default_rng(0).normal(size=(6, 8)))
    loss = distillation_loss(contrast_weight=0.2, contrast_scale=20.0)
    assert float(loss(rows, rows)) == pytest.approx(0.0, abs=1e-5)
    assert float(loss(rows, unit(rows[::-1] + 0.1))) > 0.1


def test_the_margin_is_taken_off_the_own_angle() -> None:
    angles = np.array([[0.3, 1.2, 2.0], [1.1, 0.4, 2.5]])
    labels, margin, scale = np.array([0, 1]), 0.2, 30.0
    with_margin = angles + margin * np.eye(2, 3)
    logits = scale * np.cos(with_margin)
    expected = -np.mean(
        [logits[row, label] - np.log(np.exp(logits[row]).sum()) for row, label in enumerate(labels)]
    )
    found = margin_loss(margin, scale)(labels, np.cos(angles).astype(np.float32))
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_windows_without_a_class_take_no_part() -> None:
    cosines = np.random.default_rng(1).uniform(-1, 1, (4, 3)).astype(np.float32)
    loss = margin_loss(0.2, 30.0)
    alone = loss(np.array([2]), cosines[:1])
    among_others = loss(np.array([2, -1, -1, -1]), cosines)
    assert float(among_others) == pytest.approx(float(alone), rel=1e-6)
    assert float(loss(np.array([-1, -1, -1, -1]), cosines)) == 0.0


@pytest.mark.parametrize("cosine", [-1.0, -0.99, 0.0, 1.0])
def test_a_larger_own_cosine_is_never_a_larger_loss(cosine: float) -> None:
    loss = margin_loss(0.2, 30.0)

    def at(own: float) -> float:
        return float(loss(np.array([0]), np.array([[own, 0.1]], np.float32)))

    assert np.isfinite(at(cosine))
    assert at(min(1.0, cosine + 0.01)) <= at(cosine) + 1e-5


def test_a_class_is_as_near_as_its_nearest_centre() -> None:
    centroids = unit(np.random.default_rng(2).normal(size=(5, 8)))
    classes = SubCentres(classes=5, centres=2)
    classes.build((None, 8))
    classes.begin_at(centroids)
    cosines = np.asarray(classes(centroids))
    assert cosines.shape == (5, 5)
    np.testing.assert_allclose(cosines, centroids @ centroids.T, atol=0.1)
    kernel = unit(np.asarray(classes.kernel).T).reshape(2, 5, 8)
    np.testing.assert_allclose(
        cosines, np.max([centroids @ centre.T for centre in kernel], axis=0), atol=1e-5
    )
