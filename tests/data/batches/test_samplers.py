from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.samplers import StepSampler, epoch_order
from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from tests.tiny import tiny_clips


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ClipDataset:
    clips: Clips = tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 4}, videos=False)
    return ClipDataset(clips, Inputs(reads=("heatmaps",), pose_frames=8), training=True, seed=3)


def test_all_takes_every_clip_once_in_an_order_of_the_epoch() -> None:
    labels = np.repeat(np.arange(3), [7, 1, 2])
    first, again, later = (epoch_order(labels, 5, epoch) for epoch in (0, 0, 1))
    assert sorted(first[:, 0]) == list(range(10))
    assert not first[:, 1].any()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, later)


def test_balanced_draws_every_class_alike_and_no_clip_twice_too_often() -> None:
    """Against counting: 23 draws over 4 classes of 17, 1, 5 and 0 clips, so 3 classes with 7 or 8 draws each."""
    labels = np.repeat([0, 1, 2], [17, 1, 5])
    extra = set()
    for epoch in range(12):
        order = epoch_order(labels, 0, epoch, "balanced")
        assert len(order) == 23
        draws = np.bincount(labels[order[:, 0]])
        assert sorted(draws) == [7, 8, 8]
        extra |= set(np.flatnonzero(draws == 8))
        for label, count in ((0, 17), (1, 1), (2, 5)):
            times = np.bincount(order[labels[order[:, 0]] == label, 0], minlength=23)[labels == label]
            assert times.max() - times.min() <= 1
            assert len(times) == count
        # The second number counts the draws of a clip before: each (clip, number) once, from 0 on without a gap.
        for clip in set(order[:, 0]):
            numbers = sorted(order[order[:, 0] == clip, 1])
            assert numbers == list(range(len(numbers)))
    assert extra == {0, 1, 2}  # what is left over goes to other classes in other epochs


def test_a_clip_drawn_again_gets_another_crop(dataset: ClipDataset) -> None:
    one, again, same = dataset[(0, 1, 0)], dataset[(0, 1, 1)], dataset[(0, 1, 0)]
    assert not np.array_equal(one.affine, again.affine)
    np.testing.assert_array_equal(one.affine, same.affine)


@pytest.mark.parametrize("sampling", ["all", "balanced"])
@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("processes", [1, 2, 5])
def test_the_shares_of_parts_and_processes_are_the_batch(
    dataset: ClipDataset, sampling: str, parts: int, processes: int
) -> None:
    """Whatever it is cut into, a step has the same clips in the same order; none twice, none missing."""
    plain = StepSampler(dataset, 5, sampling=sampling)
    plain.begin(2)
    expected = list(plain)
    assert [len(keys) for keys in expected] == [5, 5, 5, 1]
    samplers = [
        StepSampler(dataset, 5, parts=parts, rank=rank, processes=processes, sampling=sampling)
        for rank in range(processes)
    ]
    for sampler in samplers:
        sampler.begin(2)
    given = [iter(list(sampler)) for sampler in samplers]
    for step, keys in enumerate(expected):
        shares = [sampler.shares(step) for sampler in samplers]
        assert len({len(share) for share in shares}) == 1  # as many parts on every process
        seen = []
        for part in range(len(shares[0])):
            sizes = [share[part] for share in shares]
            assert max(sizes) - min(sizes) <= 1
            for one, size in zip(given, sizes, strict=True):
                brought = next(one)
                assert len(brought) == max(1, size)
                seen += brought[:size]
        assert seen == keys
        for sampler in samplers:
            np.testing.assert_array_equal(
                sampler.whole_labels(step), [dataset.clips.labels[position] for _, position, _ in keys]
            )
    assert all(next(one, None) is None for one in given)


def test_partners_are_of_the_same_part_whatever_the_processes(dataset: ClipDataset) -> None:
    one, other = (StepSampler(dataset, 5, parts=2, rank=rank, processes=2) for rank in range(2))
    drawn, kinds = [], set()
    for epoch in range(40):
        one.begin(epoch)
        other.begin(epoch, step=1)
        for step in range(one.steps):
            partner, share = one.partners(step, 0.4)
            for mine, theirs in zip((partner, share), other.partners(step, 0.4), strict=True):
                np.testing.assert_array_equal(mine, theirs)
            pairs = zip(one.positions(step), other.positions(step), strict=True)
            for (rows, mine), (_, theirs) in pairs:
                assert sorted(partner[rows]) == rows.tolist() == [*mine, *theirs]
            drawn += share.tolist()
            kinds.add(tuple(partner))
    assert [len(mine) for _, mine in one.positions(0)] == one.shares(0)
    assert len(kinds) > 5
    # The variance of Beta(a, a) is 1 / (8 a + 4); there are 640 draws.
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.06)
    assert np.var(drawn) == pytest.approx(1 / 7.2, abs=0.02)


def test_an_epoch_goes_on_at_a_step(dataset: ClipDataset) -> None:
    whole, rest = (StepSampler(dataset, 5, parts=2) for _ in range(2))
    whole.begin(1)
    rest.begin(1, step=2)
    assert list(rest) == list(whole)[4:]
    assert len(rest) == len(list(rest)) == len(whole) - 4


def test_the_order_is_that_of_runs_begun_before(dataset: ClipDataset, tmp_path: Path) -> None:
    order = np.random.default_rng([3, 7]).permutation(16)
    sampler = StepSampler(dataset, 16)
    sampler.begin(7)
    assert [position for _, position, _ in next(iter(sampler))] == order.tolist()
