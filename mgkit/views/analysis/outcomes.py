"""The clips behind each cell of a confusion matrix, the order of its classes, and the changes between two runs: clips
right in both, fixed, broken, wrong in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, counted, some
from mgkit.results.compare.runs import aligned_runs, run_names, subjects_of, tested_differently
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Predictions
from mgkit.results.stats.metrics import confusion_matrix
from mgkit.results.stats.resampling import resampled
from mgkit.results.stats.significance import Estimate, Paired, paired, subject_interval

ORDERS = ("groups", "cluster", "given")
KINDS = ("TP", "FN", "FP")
Ints = npt.NDArray[np.int64]


class Outcomes:
    """N clips sorted once by true and predicted class, so that those of any cell, row or column are looked up.

    Args:
        labels: (N,) true classes in [0, K).
        predicted: (N,) predicted classes in [0, K).
        classes: K.

    Attributes:
        labels, predicted: as given.
        counts: (K, K) clips; row = true class, column = predicted class.

    All lookups return positions in [0, N), in rising order.
    """

    def __init__(self, labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> None:
        self.labels, self.predicted = np.asarray(labels, np.int64), np.asarray(predicted, np.int64)
        self.counts = confusion_matrix(self.labels, self.predicted, classes)
        self._cells = _sorted(self.labels * classes + self.predicted, classes * classes)
        self._rows = _sorted(self.labels, classes)
        self._columns = _sorted(self.predicted, classes)

    def __len__(self) -> int:
        return len(self.labels)

    def cell(self, true: int, predicted: int) -> Ints:
        """Clips of class `true` that were taken for `predicted`."""
        self._check(true, predicted)
        return _group(self._cells, true * len(self.counts) + predicted)

    def of(self, true: int) -> Ints:
        """Clips of class `true`."""
        self._check(true)
        return _group(self._rows, true)

    def taken_for(self, predicted: int) -> Ints:
        """Clips taken for class `predicted`, correctly or not."""
        self._check(predicted)
        return _group(self._columns, predicted)

    def pick(self, true: int | None, predicted: int | None) -> Ints:
        """A cell, or with None a whole row or column."""
        if predicted is None:
            return np.arange(len(self)) if true is None else self.of(true)
        return self.taken_for(predicted) if true is None else self.cell(true, predicted)

    def kind(self, kind: str, class_index: int) -> Ints:
        """The "TP", "FN" (of the class, missed) or "FP" (taken for it) clips of a class."""
        if kind not in KINDS:
            raise MgkitError(f"{kind!r} is not a kind of clip: use one of {', '.join(KINDS)}.")
        right = self.cell(class_index, class_index)
        if kind == "TP":
            return right
        rest = self.of(class_index) if kind == "FN" else self.taken_for(class_index)
        return np.setdiff1d(rest, right, assume_unique=True)

    def _check(self, *indices: int) -> None:
        for index in indices:
            if not 0 <= index < len(self.counts):
                raise MgkitError(f"there is no class {index}; the classes are 0 to {len(self.counts) - 1}.")


def _sorted(keys: Ints, count: int) -> tuple[Ints, Ints]:
    """Positions ordered by key, and the start of each key in [0, count)."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=count))])
    return np.argsort(keys, kind="stable"), starts


def _group(positions: tuple[Ints, Ints], key: int) -> Ints:
    order, starts = positions
    return order[starts[key] : starts[key + 1]]


def class_order(classes: Classes, counts: npt.ArrayLike, order: str) -> Ints:
    """(K,) labels in display order.

    Args:
        classes: names and groups.
        counts: (K, K) confusion matrix.
        order: "groups" keeps the groups of the classes together, "cluster" puts confused classes next to each other
            (average linkage over the mean share of the two confusions), "given" keeps the label order, as the other
            two do without groups or with fewer than three classes.

    Raises:
        MgkitError: an unknown order.
    """
    if order not in ORDERS:
        raise MgkitError(f"{order!r} is not an order of classes: use one of {', '.join(ORDERS)}.")
    count = len(classes)
    if order == "groups" and classes.groups is not None:
        first = {group: i for i, group in reversed(list(enumerate(classes.groups)))}
        groups = classes.groups
        return np.array(sorted(range(count), key=lambda k: (first[groups[k]], k)), np.int64)
    if order == "cluster" and count > 2:
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform

        matrix = np.asarray(counts, np.float64)
        share = matrix / np.maximum(matrix.sum(1), 1)[:, None]
        distance = 1 - np.clip((share + share.T) / 2, 0, 1)
        np.fill_diagonal(distance, 0)
        tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
        return leaves_list(tree).astype(np.int64)
    return np.arange(count)


@dataclass(frozen=True, eq=False)
class Parts:
    """Classes to show: some by themselves, in this order, and the rest together.

    Attributes:
        shown: labels of the classes shown by themselves.
        rest: labels of the others; empty if every class is shown.
        names: names of the M parts, "others (n)" for the rest.
    """

    shown: Ints
    rest: Ints
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def others(self) -> int:
        """Position of the rest; -1 if there is none."""
        return len(self.shown) if len(self.rest) else -1

    def of(self, labels: npt.ArrayLike) -> Ints:
        """(N,) labels as positions of parts."""
        place = np.full(len(self.shown) + len(self.rest), len(self.shown), np.int64)
        place[self.shown] = np.arange(len(self.shown))
        return place[np.asarray(labels, np.int64)]

    def sums(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """(K,) or (K, K) of classes as (M,) or (M, M) of parts."""
        array = np.asarray(values)
        member = np.zeros((len(self), len(self.shown) + len(self.rest)), array.dtype)
        member[self.of(np.arange(member.shape[1])), np.arange(member.shape[1])] = 1
        return member @ array if array.ndim == 1 else member @ array @ member.T

    def groups(self, classes: Classes) -> list[str] | None:
        """The group of each part; the rest is its own."""
        if classes.groups is None:
            return None
        return [classes.groups[k] for k in self.shown] + ["others"] * (len(self) - len(self.shown))

    def as_classes(self, classes: Classes) -> Classes:
        """The parts as a class list."""
        groups = self.groups(classes)
        return Classes(self.names, None if groups is None else tuple(groups))

    def labels(self, position: int) -> Ints:
        """The labels of a part."""
        return self.rest if position == self.others else self.shown[position : position + 1]

    def index(self, name: str, classes: Classes) -> int:
        """The position of a part by its name, or "others"; an unknown name raises a `MgkitError`."""
        if self.others >= 0 and name in ("others", self.names[self.others]):
            return self.others
        found = np.flatnonzero(self.shown == classes.index(name))
        if not len(found):
            raise MgkitError(f"{name!r} is not shown by itself: use {some(self.names, 20)}.")
        return int(found[0])

    def ordered(self, order: npt.ArrayLike) -> list[int]:
        """Positions in an order, the rest always last."""
        return sorted(np.asarray(order).tolist(), key=lambda position: position == self.others)


def class_parts(
    classes: Classes,
    counts: npt.ArrayLike,
    order: npt.ArrayLike,
    chosen: Sequence[str] | None = None,
    most_confused: int | None = None,
) -> Parts:
    """The classes that are shown by themselves.

    Args:
        classes: names and groups.
        counts: (K, K) confusion matrix.
        order: (K,) labels in display order.
        chosen: names of the classes to show, in this order, whatever `order` is.
        most_confused: show this number of classes, those of the most frequent confusions.

    Raises:
        MgkitError: both are given, an unknown or repeated name, no name, or nothing is confused.
    """
    sequence = np.asarray(order, np.int64)
    if chosen is not None and most_confused is not None:
        raise MgkitError("classes and most_confused are given: use one of them.")
    if chosen is not None:
        if isinstance(chosen, str):
            raise MgkitError(f"classes must be a list of names: give [{chosen!r}].")
        labels = [classes.index(name) for name in chosen]
        twice = sorted({name for name in chosen if list(chosen).count(name) > 1})
        if not labels or twice:
            raise MgkitError(f"classes has {some(twice)} twice." if twice else "classes has no name in it.")
        shown = np.array(labels, np.int64)
    elif most_confused is not None:
        found = _most_confused(np.asarray(counts), most_confused)
        shown = sequence[np.isin(sequence, found)]
    else:
        shown = sequence
    rest = np.setdiff1d(sequence, shown)
    names = [classes.names[k] for k in shown] + ([f"others ({len(rest)})"] if len(rest) else [])
    return Parts(shown, rest, tuple(names))


def _most_confused(counts: npt.NDArray[Any], many: int) -> list[int]:
    """Labels of the most frequent confusions (by clips, then by share), until there are `many`."""
    if many < 2:
        raise MgkitError(f"most_confused is {many}: a confusion has two classes, so use 2 or more.")
    off = counts - np.diag(np.diag(counts))
    share = off / np.maximum(counts.sum(1), 1)[:, None]
    found: list[int] = []
    for cell in np.lexsort((-share.ravel(), -off.ravel()))[: np.count_nonzero(off)]:
        new = [int(k) for k in np.unravel_index(cell, off.shape) if k not in found]
        if len(found) + len(new) <= many:
            found += new
        if len(found) == many:
            break
    if not found:
        raise MgkitError("nothing is confused, so there are no classes to show: leave most_confused out.")
    return found


FATES = ("right", "fixed", "broken", "wrong")
BEST = "best"  # each run's best output, where those are not the same one
TO = " to "  # between two outputs that are compared: "rgb to pose"


@dataclass(frozen=True, eq=False)
class Changes:
    """Changes from one run (the baseline) to another, on the same N clips.

    Attributes:
        before, after: predictions of the two, in the same order of clips.
        outputs: which output of each is compared.
        paired: whether the two outputs were chosen one by one, as those of one run are.
        fate: (N,) index into `FATES`.
        confidence: (N,) change of the probability of the true class, after - before, in [-1, 1].
        counts: (K, 4) clips by true class and fate.
        test: the 2x2 table and McNemar's p.
        gain: of Top-1, with its 95 % interval (missing with fewer than 8), over `interval_over`: "24 subjects", or
            clips if not all subjects are known or there is only one.
        note: on clips that only one of the runs has and that were left out, else "".
        tested: a sentence on runs that were not tested with the same views, else "".
    """

    before: Predictions
    after: Predictions
    outputs: tuple[str, str]
    fate: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    test: Paired
    gain: Estimate
    interval_over: str
    note: str = ""
    paired: bool = False
    tested: str = ""

    def order(self) -> npt.NDArray[np.int64]:
        """(k,) the classes in which a clip changed, from the largest gain in clips to the largest loss."""
        fixed, broken = self.counts[:, 1], self.counts[:, 2]
        changed = np.flatnonzero(fixed + broken)
        return changed[np.lexsort((changed, -fixed[changed], (broken - fixed)[changed]))]

    def words(self, names: tuple[str, str]) -> str:
        """The finding in sentences; `names` of the two runs."""
        t, p = self.test, self.test.p_mid
        where = f", {self.note}" if self.note else ""
        if not t.fixed + t.broken:
            same = f"{names[1]} is right on exactly the clips that {names[0]} is right on: nothing was fixed or broken"
            return f"{same}{where}."
        low, high = 100 * self.gain.low, 100 * self.gain.high
        shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
        known, clear = not np.isnan(low), low > 0 or high < 0
        verdict = (
            "There are too few for an interval, and the test takes clips of one person as independent." if not known
            else "The difference is unlikely to be chance." if p < 0.05 and clear
            else "That may be chance." if p >= 0.05 and not clear
            else "The test and the interval disagree: do not rely on the difference."
        )  # fmt: skip
        interval = (
            f"95 % interval over {self.interval_over} {low:+.1f} to {high:+.1f}"
            if known
            else self.interval_over
        )
        return (
            f"{names[1]} fixes {t.fixed} and breaks {t.broken} of {counted(t.clips, 'clip')} of {names[0]}{where}: "
            f"{100 * self.gain.mean:+.1f} points of Top-1 ({interval}; McNemar mid-p, {shown}). {verdict}"
            f"{f' {self.tested}.' if self.tested else ''}"
        )


def outputs_to_compare(one: Run, other: Run, before: Predictions, after: Predictions) -> list[str]:
    """The outputs both runs have, first `BEST` if their best outputs differ; of one run, its pairs of outputs."""
    if same_run(one, other):
        return [TO.join(pair) for pair in combinations(before.outputs, 2)]
    common = [name for name in before.outputs if name in after.outputs]
    return common if before.best == after.best else [BEST, *common]


def same_run(one: Run, other: Run) -> bool:
    """Whether two runs are one folder."""
    return one.root.resolve() == other.root.resolve()


def changes(
    one: Run,
    other: Run,
    split: str = "test",
    output: str | tuple[str, str] | None = None,
    *,
    common: bool = False,
    draws: int = 2000,
) -> Changes:
    """Compare two runs, or two outputs of one run, clip by clip: right in both, fixed, broken, or wrong in both.

    Args:
        one: the baseline.
        other: the run it is compared with, over the same classes; it may be the same run.
        split: an evaluated split of both.
        output: "rgb", "pose" or "fused" of both, or one of each: ("rgb", "pose"), or "rgb to pose". By default the best
            of each, and the first two outputs of one run.
        common: compare runs that were tested on different clips, on the clips that both have.
        draws: bootstrap samples of the interval, always from the same seed.

    Raises:
        MgkitError: an unknown output, an output compared with itself, or runs over different clips, classes or labels.
    """
    (before, after), note = aligned_runs([one, other], split, common=common)
    itself = same_run(one, other)
    if itself and output is None:
        output = TO.join(before.outputs[:2])
    if output is None or output == BEST:
        outputs, pair = (before.best, after.best), False
    else:
        outputs, pair = _outputs(output)
        for run, predictions, name in ((one, before, outputs[0]), (other, after, outputs[1])):
            if name not in predictions.outputs:
                raise MgkitError(
                    f"{run.root} has no output {name!r} (it has {', '.join(predictions.outputs)}): "
                    "leave output out to compare the best of each."
                )
    if itself and outputs[0] == outputs[1]:
        others = f", or two of its outputs ({', '.join(before.outputs)})" if len(before.outputs) > 1 else ""
        raise MgkitError(
            f"{one.root} is compared with itself by the output {outputs[0]!r}: give another run{others}."
        )
    was, now = before.correct(outputs[0]), after.correct(outputs[1])
    fate = np.where(was & now, 0, np.where(now, 1, np.where(was, 2, 3))).astype(np.int64)
    rows = np.arange(len(before))
    confidence = after.scores(outputs[1])[rows, after.labels].astype(np.float64)
    confidence = confidence - before.scores(outputs[0])[rows, before.labels]
    count = before.class_count
    table = np.bincount(before.labels * 4 + fate, minlength=4 * count).reshape(count, 4)
    people = subjects_of(one, before.clip_ids) or subjects_of(other, before.clip_ids)
    gain = subject_interval(now, was, people, np.random.default_rng(0), draws=draws)
    over = resampled(people, len(was))
    tested = tested_differently(run_names([one, other]), [one, other], split)
    return Changes(
        before, after, outputs, fate, confidence, table, paired(now, was), gain, over, note, pair, tested
    )


def _outputs(output: str | tuple[str, str]) -> tuple[tuple[str, str], bool]:
    """The output of each run, and whether each was named."""
    names = output.split(TO) if isinstance(output, str) else list(output)
    if len(names) > 2:
        raise MgkitError(f"output is {output!r}: give one output for both runs, or one of each.")
    return (names[0], names[-1]), len(names) == 2
