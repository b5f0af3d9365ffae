"""What became of each clip between two runs: right in both, fixed, broken, wrong in both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgkit.errors import MgkitError
from mgkit.results.compare import Estimate, Paired, paired, subject_interval
from mgkit.results.comparison import subjects_of
from mgkit.results.runs import Predictions, Run
from mgkit.views.analysis.outcomes import common_predictions

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
