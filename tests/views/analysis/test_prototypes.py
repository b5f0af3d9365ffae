"""Similarity of prototypes and confusion, against slow loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.views.analysis import (
    prototype_similarity,
    run_similarity_and_confusion,
    similarity_and_confusion,
)


def test_prototype_similarity(make_run: Callable[..., Run]) -> None:
    run = make_run(6, 20, unseen=(1,), noise=0.8)
    similarity, seen = prototype_similarity(run, "rgb")
    assert seen.tolist() == [True, False, True, True, True, True]
    assert np.isnan(similarity[1]).all()
    assert np.isnan(similarity[:, 1]).all()
    part = similarity[np.ix_(seen, seen)]
    np.testing.assert_array_equal(part, part.T)
    np.testing.assert_array_equal(np.diag(part), 1)
    vectors = run.prototypes().last("rgb")[0]
    expected = vectors[0] @ vectors[2] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[2])
    assert similarity[0, 2] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(MgkitError, match="no prototypes"):
        prototype_similarity(make_run(4, prototypes=False))


def made(rng: np.random.Generator, classes: int, related: bool) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of random prototypes, and counts that follow them, or other random ones."""
    similarity, other = np.empty((classes, classes)), np.empty((classes, classes))
    for matrix in (similarity, other):
        unit = rng.normal(size=(classes, 6))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        matrix[:] = unit @ unit.T
    rates = np.exp(2 * (similarity if related else other))
    return similarity, rng.poisson(3 * rates)


def test_rho_and_pairs_against_a_loop() -> None:
    similarity, counts = made(np.random.default_rng(0), 6, True)
    names = list("abcdef")
    found = similarity_and_confusion(similarity, counts, names, np.random.default_rng(1), draws=50)
    x, y = [], []
    for i, j in combinations(range(6), 2):
        x.append(similarity[i, j])
        y.append((counts[i, j] / counts[i].sum() + counts[j, i] / counts[j].sum()) / 2)
    assert found.rho == pytest.approx(spearmanr(x, y).statistic)
    table = found.pairs.set_index(["class_a", "class_b"])
    assert len(table) == 15
    assert (table["similarity"].diff().dropna() <= 0).all()
    at = list(combinations(range(6), 2)).index((1, 4))
    assert table.loc[("b", "e"), "confusion"] == pytest.approx(y[at])
    assert table.loc[("b", "e"), "clips"] == counts[1, 4] + counts[4, 1]
    assert -1 <= found.low <= found.rho <= found.high <= 1


def test_p_against_all_permutations() -> None:
    similarity, counts = made(np.random.default_rng(3), 5, True)
    share = counts / counts.sum(1, keepdims=True)
    confusion = (share + share.T) / 2
    i, j = np.triu_indices(5, 1)
    every = []
    for order in permutations(range(5)):
        moved = confusion[np.ix_(order, order)]
        every.append(spearmanr(similarity[i, j], moved[i, j]).statistic)
    exact = np.mean(np.abs(every) >= abs(every[0]) - 1e-9)
    found = similarity_and_confusion(similarity, counts, list("abcde"), np.random.default_rng(0), draws=1500)
    assert found.p == pytest.approx(exact, abs=0.04)


@pytest.mark.slow
def test_a_relation_is_found_and_the_absence_of_one_is_not() -> None:
    related = similarity_and_confusion(
        *made(np.random.default_rng(0), 14, True),
        [str(k) for k in range(14)],
        np.random.default_rng(0),
        draws=300,
    )
    assert related.p < 0.01
    assert related.low > 0
    # p of unrelated matrices is uniform: 8 of 40 at most lie below 0.05 (chance of more: 1e-4)
    rng = np.random.default_rng(5)
    small = 0
    for _ in range(40):
        found = similarity_and_confusion(*made(rng, 9, False), list("abcdefghi"), rng, draws=99)
        small += found.p < 0.05
    assert small <= 8


def test_the_same_generator_gives_the_same_answer() -> None:
    given = made(np.random.default_rng(0), 7, True)
    one, two = (
        similarity_and_confusion(*given, list("abcdefg"), np.random.default_rng(4), draws=60)
        for _ in range(2)
    )
    assert (one.low, one.high, one.p) == (two.low, two.high, two.p)


def test_classes_without_prototype_or_clips_are_left_out_by_name() -> None:
    similarity, counts = made(np.random.default_rng(0), 7, True)
    similarity[2] = similarity[:, 2] = np.nan
    counts[5] = 0  # no clip of it, though some are taken for it
    found = similarity_and_confusion(similarity, counts, list("abcdefg"), np.random.default_rng(0), draws=20)
    assert (found.never_seen, found.absent) == (("c",), ("f",))
    assert len(found.pairs) == 10
    assert not {"c", "f"} & {*found.pairs["class_a"], *found.pairs["class_b"]}


def test_what_is_not_defined_is_nan() -> None:
    rng = np.random.default_rng(0)
    two = similarity_and_confusion([[1, 0.3], [0.3, 1]], [[3, 1], [0, 4]], ["x", "y"], rng)
    assert len(two.pairs) == 1
    assert np.isnan([two.rho, two.low, two.high, two.p]).all()
    perfect = similarity_and_confusion(made(rng, 5, True)[0], np.eye(5, dtype=int), list("abcde"), rng)
    assert np.isnan([perfect.rho, perfect.low, perfect.high, perfect.p]).all(), "nothing is confused"
    nothing = similarity_and_confusion(np.full((3, 3), np.nan), np.eye(3, dtype=int), list("abc"), rng)
    assert nothing.pairs.empty
    assert list(nothing.pairs) == list(two.pairs)
    assert nothing.never_seen == ("a", "b", "c")
    similarity, counts = made(rng, 3, True)
    three = similarity_and_confusion(similarity, counts, list("abc"), rng, draws=20)
    assert np.isfinite([three.rho, three.p]).all()
    assert np.isnan([three.low, three.high]).all()


def test_what_does_not_go_together_is_refused() -> None:
    similarity, counts = made(np.random.default_rng(0), 4, True)
    rng = np.random.default_rng(0)
    with pytest.raises(MgkitError, match="do not go with 3 names"):
        similarity_and_confusion(similarity, counts, list("abc"), rng)
    with pytest.raises(MgkitError, match="negative"):
        similarity_and_confusion(similarity, counts - 100, list("abcd"), rng)
    similarity[0, 1] += 0.2
    with pytest.raises(MgkitError, match="not symmetric"):
        similarity_and_confusion(similarity, counts, list("abcd"), rng)


def test_of_a_run(make_run: Callable[..., Run]) -> None:
    run = make_run(6, 20, unseen=(1,))
    found = run_similarity_and_confusion(run, np.random.default_rng(0), pathway="pose", draws=20)
    assert found.never_seen == (run.classes.names[1],)
    similarity, _ = prototype_similarity(run, "pose")
    first = found.pairs.iloc[0]
    i, j = run.classes.index(first["class_a"]), run.classes.index(first["class_b"])
    assert first["similarity"] == pytest.approx(similarity[i, j])
    predictions = run.predictions()
    labels, said = predictions.labels, predictions.predicted("pose")
    assert first["clips"] == ((labels == i) & (said == j)).sum() + ((labels == j) & (said == i)).sum()
    single = run_similarity_and_confusion(make_run(4, pathways=("pose",)), np.random.default_rng(0), draws=20)
    assert len(single.pairs) == 6
    with pytest.raises(MgkitError, match="no prototypes"):
        run_similarity_and_confusion(make_run(4, prototypes=False), np.random.default_rng(0))
