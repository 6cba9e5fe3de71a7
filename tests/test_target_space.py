"""What of the teacher's embeddings the network is to learn."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from training.corpus import Corpus, Recordings
from training.covariances import within_covariance
from training.head import refit_head
from training.network import NetworkSettings, build_network
from training.target_space import (
    TargetSpace,
    fit_target_space,
    read_target_space,
    write_target_space,
)
from training.windows import NOBODY, windows_anywhere

SPEAKERS, EACH = 40, 6
NOTHING = Recordings(np.zeros(0, np.int16), np.zeros(1, int), np.zeros(0, str), np.zeros(0, str))


def make_corpus(between: list[float], within: list[float], shift: list[float]) -> Corpus:
    """Teacher's embeddings that scatter so between and within speakers, of which the second half
    are of a domain that is shifted.
    """
    rng = np.random.default_rng(0)
    count = SPEAKERS * EACH
    speaker = np.repeat(np.arange(SPEAKERS), EACH)
    domain = speaker >= SPEAKERS // 2
    said = rng.normal(size=(SPEAKERS, len(between)))[speaker] * between
    said = said + rng.normal(size=said.shape) * within + np.outer(domain, shift)
    speech = Recordings(
        samples=np.zeros(count, np.int16),
        starts=np.arange(count + 1),
        names=speaker.astype(str),
        labels=speaker.astype(str),
    )
    domains = np.where(domain, "shifted", "plain")
    return Corpus(speech, NOTHING, [], said.astype(np.float32), domains)


def fit(corpus: Corpus, size: int, wccn: float = 0.0, centring: float = 0.0) -> TargetSpace:
    return fit_target_space(corpus, size, wccn, centring)


def subspace(axes: np.ndarray) -> np.ndarray:
    """How much of each of the teacher's directions is kept, 0 to 1."""
    basis, _ = np.linalg.qr(axes)
    return np.sum(basis**2, axis=1)


def test_the_largest_directions_are_kept() -> None:
    corpus = make_corpus([5.0, 1.0, 0.1], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0])
    space = fit(corpus, size=2)
    np.testing.assert_allclose(subspace(space.axes), [1, 1, 0], atol=0.01)
    np.testing.assert_allclose(space.origins[0], corpus.teacher.mean(axis=0), atol=1e-4)


def test_what_differs_between_windows_of_a_voice_is_left_out() -> None:
    corpus = make_corpus([1.0, 0.5, 0.1], [0.3, 0.3, 1.0], [0.0, 0.0, 0.0])
    kept = {power: subspace(fit(corpus, size=2, wccn=power).axes) for power in (0.0, 1.0)}
    np.testing.assert_allclose(kept[0.0], [1, 0, 1], atol=0.05)
    np.testing.assert_allclose(kept[1.0], [1, 1, 0], atol=0.05)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_a_domain_has_in_common_is_taken_off(share: float) -> None:
    corpus = make_corpus([1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [8.0, 0.0, 0.0])
    space = fit(corpus, size=3, centring=share)
    apart = np.subtract(*space.origins_of(np.array(["shifted", "plain"])))
    halves = corpus.teacher.reshape(2, -1, 3).mean(axis=1)
    speakers = SPEAKERS / 2
    of_own = share * speakers / (speakers + 5)  # so few speakers have a mean of their own
    np.testing.assert_allclose(apart, of_own * (halves[1] - halves[0]), atol=1e-4)
    unit = space.of(corpus.teacher, corpus.domains)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-5)


def test_a_domain_not_known_has_the_mean_for_its_origin() -> None:
    corpus = make_corpus([1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [8.0, 0.0, 0.0])
    space = fit(corpus, size=3, centring=1.0)
    for name in ("aaa", "between", "zzz"):
        (origin,) = space.origins_of(np.array([name]))
        np.testing.assert_array_equal(origin, space.origins[-1])


def test_it_is_kept_and_the_first_directions_are_the_largest(tmp_path: Path) -> None:
    corpus = make_corpus([1.0, 5.0, 0.1], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0])
    path = write_target_space(fit(corpus, size=3), tmp_path / "space.npz")
    np.testing.assert_allclose(subspace(read_target_space(1, path).axes), [0, 1, 0], atol=0.01)
    domains = np.array(["plain", "shifted", "another"])
    np.testing.assert_array_equal(
        read_target_space(3, path).origins_of(domains), fit(corpus, size=3).origins_of(domains)
    )


def test_windows_of_one_voice_say_it_where_the_teacher_heard_them() -> None:
    corpus = make_corpus([1.0, 0.5, 0.1], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0])
    windows = windows_anywhere(len(corpus.speech), speed=1.0)
    of_windows = corpus.teacher[:, ::-1].copy()
    windows["other"][::2] = 0  # of two voices: what is said of them is not counted
    of_windows[::2] = 100.0
    windows["speed"][1::4] = 0.9
    of_windows[1::4] = 100.0
    taught = replace(corpus, windows=[(windows, of_windows)])
    assert (windows["other"] == NOBODY).any()
    space = fit(taught, size=2)
    np.testing.assert_allclose(subspace(space.axes), [0, 1, 1], atol=0.05)


def test_speakers_of_one_recording_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="two recordings"):
        within_covariance(np.eye(3), np.array(["a", "b", "c"]), shrinkage=0.1)


def test_the_last_layer_learns_other_targets_at_once() -> None:
    keras.utils.set_random_seed(1)
    small = NetworkSettings(
        stem_channels=16, stage_channels=(16, 16), projection_units=16, recurrent_units=16,
        attention_units=16, embedding_size=4,
    )  # fmt: skip
    network, other = build_network(small), build_network(small)
    other.set_weights(network.get_weights())
    rng = np.random.default_rng(1)
    layer = other.get_layer("embedding")
    layer.set_weights([rng.normal(size=each.shape) for each in layer.get_weights()])
    windows = rng.normal(size=(4, 32, 60, 64)).astype(np.float32)
    batches = [(each, {"unit": other.predict_on_batch(each)}) for each in windows]

    def mean_cosine() -> float:
        found = (network.predict_on_batch(each) for each, _ in batches)
        pairs = zip(found, batches, strict=True)
        return float(np.mean([np.sum(unit * wanted["unit"], 1) for unit, (_, wanted) in pairs]))

    before = mean_cosine()
    refit_head(network, batches, ridge=1e-3)
    assert mean_cosine() > max(0.9, before)
