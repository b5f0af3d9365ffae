"""Which clips stand behind each number of a confusion matrix, in which order to show its classes, and which clips two
runs can be compared on.

What became of each clip between two runs: right in both, fixed, broken, wrong in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, some
from mgkit.results.compare.runs import subjects_of
from mgkit.results.run.folder import Predictions, Run
from mgkit.results.stats.metrics import confusion_matrix
from mgkit.results.stats.significance import Estimate, Paired, paired, subject_interval

ORDERS = ("groups", "cluster", "given")
KINDS = ("TP", "FN", "FP")
Ints = npt.NDArray[np.int64]


class Outcomes:
    """What became of N clips, sorted once, so that the clips of any cell, row or column are looked up and not searched.

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
        true, said = np.asarray(labels, np.int64), np.asarray(predicted, np.int64)
        self.labels, self.predicted = true, said
        self.counts = confusion_matrix(true, said, classes)
        self._cells = _sorted(true * classes + said, classes * classes)
        self._rows = _sorted(true, classes)
        self._columns = _sorted(said, classes)

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
        """Clips taken for class `predicted`, rightly or not."""
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
            raise MgkitError(f"there is no kind {kind!r} of clips: use one of {', '.join(KINDS)}.")
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
    """Positions ordered by key, and where the positions of each key in [0, count) begin."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=count))])
    return np.argsort(keys, kind="stable"), starts


def _group(positions: tuple[Ints, Ints], key: int) -> Ints:
    order, starts = positions
    return order[starts[key] : starts[key + 1]]


def class_order(classes: Classes, counts: npt.ArrayLike, order: str) -> Ints:
    """(K,) labels in the order to show them in.

    Args:
        classes: names and groups.
        counts: (K, K) confusion matrix.
        order: "groups" keeps the groups of the classes together, "cluster" puts classes next to each other that are
            taken for each other (average linkage over the mean share of the two confusions), "given" keeps the
            label order, as the other two do where there are no groups or less than three classes.

    Raises:
        MgkitError: an unknown order.
    """
    if order not in ORDERS:
        raise MgkitError(f"there is no order {order!r}: use one of {', '.join(ORDERS)}.")
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


def run_names(run: Run, other: Run) -> tuple[str, str]:
    """What two runs are called beside each other: by their paths where they bear the same name."""
    return (run.name, other.name) if run.name != other.name else (str(run.root), str(other.root))


def common_predictions(
    run: Run, other: Run, split: str, *, same_output: bool = True
) -> tuple[Predictions, Predictions]:
    """Predictions of both runs on the clips that both have, in the order of the first.

    Without `same_output` they need no output in common: one of RGB can be compared with one of pose.

    Raises:
        MgkitError: the runs are over different classes, have no clip or no output in common, or disagree on the true
            class of a clip.
    """
    if run.classes.names != other.classes.names:
        different = [name for name in run.classes.names if name not in other.classes.names]
        raise MgkitError(
            f"{run.root} and {other.root} are over different classes ({some(different) or 'another order'}): "
            "only runs over the same classes can be compared."
        )
    ours, theirs = run.predictions(split), other.predictions(split)
    there = set(theirs.clip_ids)
    ids = [clip_id for clip_id in ours.clip_ids if clip_id in there]
    if not ids or (same_output and not set(ours.outputs) & set(theirs.outputs)):
        what = "no clip" if not ids else "no output (rgb, pose, fused)"
        raise MgkitError(
            f"{run.root} and {other.root} have {what} of split {split!r} in common: test both on the same data."
        )
    ours, theirs = ours.select(ids), theirs.select(ids)
    wrong = np.flatnonzero(ours.labels != theirs.labels)
    if len(wrong):
        raise MgkitError(
            f"{run.root} and {other.root} disagree on the true class of {some(ids[i] for i in wrong)}: "
            "test both on the same data."
        )
    return ours, theirs


FATES = ("right", "fixed", "broken", "wrong")
BEST = "best"  # each run's best output, where those are not the same one


@dataclass(frozen=True, eq=False)
class Changes:
    """From one run (the baseline) to another, on the N clips that both have.

    Attributes:
        before, after: predictions of the two, in the same order of clips.
        outputs: which output of each is compared.
        fate: (N,) index into `FATES`.
        confidence: (N,) change of the probability of the true class, after - before, in [-1, 1].
        counts: (K, 4) clips a true class and fate.
        test: the 2x2 table and McNemar's p.
        gain: of Top-1, with its 95 % interval, over `interval_over`: "subjects", or "clips" where not all are
            known or there is only one.
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

    def order(self) -> npt.NDArray[np.int64]:
        """(k,) the classes in which a clip changed, from the greatest gain in clips to the greatest loss."""
        fixed, broken = self.counts[:, 1], self.counts[:, 2]
        changed = np.flatnonzero(fixed + broken)
        return changed[np.lexsort((changed, -fixed[changed], (broken - fixed)[changed]))]

    def words(self, names: tuple[str, str]) -> str:
        """The finding in sentences; `names` of the two runs."""
        t, p = self.test, self.test.p_mid
        if not t.fixed + t.broken:
            return f"{names[1]} is right on exactly the clips that {names[0]} is right on: nothing was fixed or broken."
        low, high = 100 * self.gain.low, 100 * self.gain.high
        shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
        clear = low > 0 or high < 0  # not so of one clip, which has no interval
        verdict = (
            "The difference is unlikely to be chance." if p < 0.05 and clear
            else "That may be chance." if p >= 0.05 and not clear
            else "The test and the interval disagree: do not rely on the difference."
        )  # fmt: skip
        return (
            f"{names[1]} fixes {t.fixed} and breaks {t.broken} of {t.clips} clips of {names[0]}: "
            f"{100 * self.gain.mean:+.1f} points of Top-1 (95 % interval over {self.interval_over} {low:+.1f} to "
            f"{high:+.1f}; McNemar mid-p, {shown}). {verdict}"
        )


def outputs_to_compare(one: Run, other: Run, before: Predictions, after: Predictions) -> list[str]:
    """The outputs both runs have; before them `BEST` where the best of the two are not the same."""
    common = [name for name in before.outputs if name in after.outputs]
    return common if before.best == after.best else [BEST, *common]


def changes(
    one: Run, other: Run, split: str = "test", output: str | None = None, *, draws: int = 2000
) -> Changes:
    """What became of each clip from `one` to `other`.

    Args:
        one: the baseline.
        other: the run it is compared with, over the same classes.
        split: an evaluated split of both.
        output: "rgb", "pose" or "fused" of both; by default the best of each.
        draws: bootstrap samples of the interval, always from the same seed.

    Raises:
        MgkitError: an unknown output, no clip in common, other classes or other labels.
    """
    before, after = common_predictions(one, other, split, same_output=False)
    if output in (None, BEST):
        outputs = before.best, after.best
    else:
        assert output is not None
        outputs = output, output
        for run, predictions in ((one, before), (other, after)):
            if output not in predictions.outputs:
                raise MgkitError(
                    f"{run.root} has no output {output!r} (it has {', '.join(predictions.outputs)}): "
                    "leave output out to compare the best of each."
                )
    was, now = before.correct(outputs[0]), after.correct(outputs[1])
    fate = np.where(was & now, 0, np.where(now, 1, np.where(was, 2, 3))).astype(np.int64)
    rows = np.arange(len(before))
    confidence = after.scores(outputs[1])[rows, after.labels].astype(np.float64)
    confidence = confidence - before.scores(outputs[0])[rows, before.labels]
    count = before.class_count
    table = np.bincount(before.labels * 4 + fate, minlength=4 * count).reshape(count, 4)
    people = subjects_of(one, before.clip_ids) or subjects_of(other, before.clip_ids)
    gain = subject_interval(now, was, people or before.clip_ids, np.random.default_rng(0), draws=draws)
    over = "subjects" if people else "clips"
    return Changes(before, after, outputs, fate, confidence, table, paired(now, was), gain, over)
