"""The clips of each training step, their order, and the share of each process.

The order of an epoch and the batches cut from it depend on (seed, epoch) alone: neither on the number of processes,
nor on the number of parts a batch is taken in, nor on where in the epoch an interrupted training resumes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

# An order of clips is drawn without torch, which takes as much memory as ten million of them.
if TYPE_CHECKING:
    from mgkit.data.batches.dataset import ClipDataset

Key = tuple[
    int, int, int
]  # epoch, position of the clip in the table, number of times it has been drawn before


def epoch_order(
    labels: npt.NDArray[np.int64], seed: int, epoch: int, sampling: str = "all"
) -> npt.NDArray[np.int64]:
    """(N, 2): the clip of each draw of an epoch, and the number of earlier draws of that clip in the same epoch.

    Args:
        labels: (N,) class of each clip.
        seed, epoch: of the draws.
        sampling: "all" takes every clip once. "balanced" makes N draws that give every class that has clips the same
            number of them, or one more; a class goes through its clips in random order, and again in another order, so
            that none is drawn twice more often than another of its class.
    """
    generator = np.random.default_rng([seed, epoch])
    count = len(labels)
    if sampling == "all":
        order = np.zeros((count, 2), np.int64)
        order[:, 0] = generator.permutation(count)
        return order
    present = generator.permutation(np.unique(labels))  # the first of them get the draws that are left over
    draws, drawn = np.empty((count, 2), np.int64), 0
    for i, label in enumerate(present):
        mine = np.flatnonzero(labels == label)
        wanted = count // len(present) + (i < count % len(present))
        rounds = -(-wanted // len(mine))
        clips = np.concatenate([generator.permutation(mine) for _ in range(rounds)])[:wanted]
        draws[drawn : drawn + wanted, 0] = clips
        draws[drawn : drawn + wanted, 1] = np.repeat(np.arange(rounds), len(mine))[:wanted]
        drawn += wanted
    order = generator.permutation(count)
    for column in draws.T:
        column[:] = column[order]
    return draws


class StepSampler:
    """`batch_sampler` of a `DataLoader`: this process's share of each part of each step of an epoch.

    A batch is cut into `parts` that are taken one after the other (gradient accumulation), whatever the number of
    processes, and each part over the processes. Sizes differ by one at most, the first are the larger ones, and
    together they hold each clip of the batch once; a last batch with fewer clips than parts is taken clip by clip.
    Where a part has fewer clips than there are processes, the last processes get none; the loader then brings them the
    first clip of the batch, which does not count in `shares`.

    Args:
        dataset: the training clips.
        batch_size: clips per step, over all parts and processes.
        parts: number of parts that a batch is taken in.
        rank, processes: number of this process, and number of processes.
        sampling: see `epoch_order`.

    Attributes:
        steps: steps of an epoch.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch_size: int,
        *,
        parts: int = 1,
        rank: int = 0,
        processes: int = 1,
        sampling: str = "all",
    ) -> None:
        self.labels, self.seed = dataset.clips.labels, dataset.seed
        self._label = dataset.label if dataset.spec.mirror_pairs else None
        self.batch_size, self.parts, self.sampling = batch_size, parts, sampling
        self.rank, self.processes = rank, processes
        self.steps = -(-len(self.labels) // batch_size)
        self.begin(0)

    def begin(self, epoch: int, step: int = 0) -> None:
        """Start an epoch, at one of its steps."""
        self.epoch, self.first = epoch, step
        self._order = epoch_order(self.labels, self.seed, epoch, self.sampling)

    def __len__(self) -> int:
        return sum(len(self.shares(step)) for step in range(self.first, self.steps))

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        for step in range(self.first, self.steps):
            batch = self._batch(step)
            for mine in self._cut(batch):
                yield [(epoch, int(clip), int(repeat)) for clip, repeat in (mine if len(mine) else batch[:1])]

    def whole_labels(self, step: int) -> npt.NDArray[np.int64]:
        """Labels of the whole batch of a step, all parts and processes together."""
        batch = self._batch(step)
        if self._label is None:
            return self.labels[batch[:, 0]]
        return np.array(
            [self._label((self.epoch, int(clip), int(repeat))) for clip, repeat in batch], np.int64
        )

    def shares(self, step: int) -> list[int]:
        """Number of clips that this process has in each part of a step."""
        return [len(mine) for mine in self._cut(self._batch(step))]

    def positions(self, step: int) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Of each part of a step, where in the batch its clips are, of all processes and of this one."""
        rows = np.arange(len(self._batch(step)))
        return list(zip(np.array_split(rows, min(self.parts, len(rows))), self._cut(rows), strict=True))

    def partners(self, step: int, mixup: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Whom the clips of a step are mixed with: those of each part, of all processes, in a random order.

        Returns:
            (B,) the position in the batch of each clip's partner, which may be itself, and (B,) the share of the clip
            in the pair, from Beta(mixup, mixup). They follow from seed, epoch and step, as the order of clips does.
        """
        # Five numbers: no draw of a clip or of an order has the same.
        generator = np.random.default_rng([self.seed, self.epoch, step, 0, 1])
        order = np.concatenate([generator.permutation(rows) for rows, _ in self.positions(step)])
        return order, generator.beta(mixup, mixup, len(order)).astype(np.float32)

    def _batch(self, step: int) -> npt.NDArray[np.int64]:
        return self._order[step * self.batch_size : (step + 1) * self.batch_size]

    def _cut(self, batch: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        parts = np.array_split(batch, min(self.parts, len(batch)))
        return [np.array_split(part, self.processes)[self.rank] for part in parts]


class EpochSampler:
    """The keys of one epoch: every clip once in random order (training), or every view in order (testing).

    In testing each of several processes takes every `processes`-th clip from `rank` on: together they have each once.
    Training on several processes takes whole batches apart instead, see `order.StepSampler`.
    """

    def __init__(self, dataset: ClipDataset, rank: int = 0, processes: int = 1) -> None:
        self.dataset, self.epoch = dataset, 0
        self.positions = range(rank, len(dataset), processes)

    def __len__(self) -> int:
        return len(self.positions) * (1 if self.dataset.training else self.dataset.views_per_clip)

    def in_batches(self, size: int) -> Iterable[list[Key]]:
        """The keys of an epoch in batches of `size` views; the last batch may be smaller."""
        from torch.utils.data import BatchSampler

        return BatchSampler(self, size, drop_last=False)  # type: ignore[arg-type, return-value]  # typed for numbers

    def __iter__(self) -> Iterator[Key]:
        if self.dataset.training:
            order = np.random.default_rng([self.dataset.seed, self.epoch]).permutation(len(self.dataset))
            return iter([(self.epoch, int(position), 0) for position in order])
        return iter([(0, p, view) for p in self.positions for view in range(self.dataset.views_per_clip)])
