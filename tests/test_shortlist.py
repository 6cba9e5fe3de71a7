"""Searching very many voices: what 8-bit copies leave open has the nearest in it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_gallery import rows
from utils import shortlist as module
from utils.gallery.snapshot import Snapshot
from utils.scoring import EMBEDDING_SIZE, cosine_scores, search, top_candidates
from utils.shortlist import encode, shortlist


@given(
    st.integers(0, 10**6),
    st.integers(1, 20_000),
    st.integers(1, 8),
    st.sampled_from(["any", "ties", "one voice", "axes"]),
)
@settings(max_examples=40, deadline=None)
def test_the_nearest_of_exact_scores_are_in_it(seed: int, count: int, top: int, alike: str) -> None:
    centroids = rows(seed, count)
    if alike == "ties":  # many rows that are the same but for their place
        centroids = centroids[np.random.default_rng(seed).integers(0, min(3, count), count)]
    elif alike == "one voice":  # cosines of 0.96 to each other: the copies hardly tell them apart
        centroids = centroids[:1] + 0.2 * centroids
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    elif alike == "axes":  # as large as single numbers get
        centroids = (
            np.sign(centroids)
            * np.eye(EMBEDDING_SIZE, dtype=np.float32)[
                np.random.default_rng(seed).integers(0, EMBEDDING_SIZE, count)
            ]
        )
    probe = centroids[0] if seed % 2 else rows(seed + 1, 1)[0]
    found = shortlist(probe, encode(centroids), top)
    scores = cosine_scores(probe, centroids)
    cut = np.sort(scores)[-min(top, count)]
    assert set(np.flatnonzero(scores >= cut)) <= set(found)


def test_it_is_short() -> None:
    centroids = rows(1, 200_000)
    assert 5 <= len(shortlist(rows(2, 1)[0], encode(centroids), 5)) < 1_000


def test_a_large_gallery_is_searched_exactly_whatever_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("utils.scoring._MANY", 10_000)
    centroids = rows(3, 20_000)
    snapshot = Snapshot.of([f"s{row}" for row in range(20_000)], centroids, [None] * 20_000)
    newer = snapshot.changed({"s5", "s19999"}, {"s6": (rows(4, 1)[0], 1.0)})
    newer = newer.changed(set(), {f"n{row}": (rows(100 + row, 1)[0], 1.0) for row in range(50)})
    for each in (snapshot, newer):
        assert np.array_equal(each.codes[: each.count], encode(each.centroids))
        for probe in (*rows(5, 5), rows(4, 1)[0], rows(149, 1)[0], centroids[5]):
            nearest = each.search(probe, 5)
            exact = top_candidates(cosine_scores(probe, each.centroids), each.ids, 5)
            assert [(one.speaker_id, one.score) for one in nearest] == [
                (one.speaker_id, one.score) for one in exact
            ]
    assert newer.search(rows(149, 1)[0], 1)[0].speaker_id == "n49"


def test_what_cannot_be_searched_is_told() -> None:
    centroids = rows(6, 3)
    for probe, top in ((centroids[0][:8], 1), (2 * centroids[0], 1), (centroids[0], 0)):
        with pytest.raises(ValueError, match=r"probe|length|top"):
            search(probe, centroids, encode(centroids), ["a", "b", "c"], top)


def test_no_pair_of_products_leaves_16_bits() -> None:
    """Processors that add them in pairs saturate beyond."""
    angles = np.linspace(0, 2 * np.pi, 721)
    pairs = 1.001 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    codes = np.rint(pairs * module._STEPS)
    sums = (codes + module._ZERO) @ codes.T
    assert -(2**15) <= sums.min() <= sums.max() < 2**15
    assert codes.max() + module._ZERO <= 255


def test_the_product_is_the_one_that_is_described() -> None:
    graph = onnx.load_from_string(module._PRODUCTS).graph
    (node,), (zero,) = graph.node, graph.initializer
    assert (node.op_type, list(node.input)) == ("MatMulInteger", ["codes", "probe", "zero"])
    assert onnx.numpy_helper.to_array(zero) == module._ZERO
