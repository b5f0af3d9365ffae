"""The mean training history of several seeds, with its interval."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mgkit.errors import MgkitError, some
from mgkit.results.compare.runs import differing_settings, seed_of
from mgkit.results.run.folder import Run


@dataclass(frozen=True, eq=False)
class Seeds:
    """The mean history of S runs of one setting.

    Attributes:
        name: of the setting.
        count: S.
        outputs: of each run.
        mean, low, high: (E epochs, `epoch` and the losses and accuracies): mean over the runs and the 95 % t interval
            of the mean; NaN where a run has no value, and the interval also with a single run.
        n: the same table, with the number of runs that have a value.
        rates: `epoch` and `learning_rate` if all runs have the same, else None.
        note: what a reader must know, beginning with a semicolon, or "".
    """

    name: str
    count: int
    outputs: tuple[str, ...]
    mean: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    n: pd.DataFrame
    rates: pd.DataFrame | None
    note: str

    def has(self, name: str) -> bool:
        """Whether all runs have a value of this name at one epoch or more."""
        return name in self.mean and bool(self.mean[name].notna().any())

    def table(self) -> pd.DataFrame:
        """One row per epoch and quantity: `setting`, `epoch`, `quantity`, `n`, `mean`, `low`, `high`."""
        parts = [
            part.melt("epoch", var_name="quantity", value_name=name)
            for name, part in (("n", self.n), ("mean", self.mean), ("low", self.low), ("high", self.high))
        ]
        out = parts[0].assign(**{str(part.columns[-1]): part.iloc[:, -1] for part in parts[1:]})
        out = out[out["n"] > 0].reset_index(drop=True)
        out.insert(0, "setting", self.name)
        return out


def no_history(run: Run) -> str:
    """Why a run has no curves, as a sentence."""
    if run.status()["state"] == "finished":  # imported scores, an ensemble, a forest of trees
        return f"{run.root} was not trained in epochs, so it has no curves: pass a run of mg.train."
    return f"{run.root} has no history yet: wait for the first epoch to finish."


def over_seeds(runs: Sequence[Run], name: str) -> Seeds:
    """The mean history of runs of one setting, and its 95 % t interval.

    Args:
        runs: at least one; each has finished an epoch.
        name: of the setting.

    Raises:
        MgkitError: a run without history, a run given twice, a repeated seed, or runs with different outputs.
    """
    from scipy import stats

    roots = [run.root.resolve() for run in runs]
    twice = {str(root) for root in roots if roots.count(root) > 1}
    if twice:
        raise MgkitError(f"{some(sorted(twice))} is given more than once: give each run once.")
    histories = [run.history() for run in runs]
    for run, history in zip(runs, histories, strict=True):
        if history.empty:
            raise MgkitError(no_history(run))
        if run.outputs != runs[0].outputs:
            raise MgkitError(
                f"{runs[0].root} has the outputs {', '.join(runs[0].outputs)} and {run.root} "
                f"{', '.join(run.outputs)}, so they are not seeds of one setting: name them in a dict."
            )
    _check_seeds(runs)

    # Losses and accuracies of all runs, on the epochs that any of them has.
    wanted = r"(train_|val_)?loss(_\w+)?|(train|val)_top1_\w+"
    columns = list(dict.fromkeys(str(c) for h in histories for c in h if re.fullmatch(wanted, str(c))))
    epochs = sorted({int(e) for history in histories for e in history["epoch"]})
    values = np.stack(
        [
            history.set_index("epoch").reindex(index=epochs, columns=columns).to_numpy(np.float64)
            for history in histories
        ]
    )
    count = len(runs)
    n = np.isfinite(values).sum(0)
    mean = values.mean(0)  # NaN where one is missing
    half = np.full_like(mean, np.nan)  # of the interval
    if count > 1:
        half = stats.t.ppf(0.975, count - 1) * values.std(0, ddof=1) / np.sqrt(count)

    def frame(array: np.ndarray) -> pd.DataFrame:
        out = pd.DataFrame(array, columns=columns)
        out.insert(0, "epoch", epochs)
        return out

    partly = sorted({epochs[i] for i in np.flatnonzero(((n > 0) & (n < count)).any(1))})
    note = f"; {name}: not all runs have the epochs {_ranges(partly)}" if partly else ""
    if count > 1:
        differ = [
            key for key in differing_settings(runs, None)[0] if re.match(r"recipe\.|settings\.(?!start)", key)
        ]
        note += f"; the runs of {name} also differ in {some(differ)}" if differ else ""
    return Seeds(
        name,
        count,
        runs[0].outputs,
        frame(mean),
        frame(mean - half),
        frame(mean + half),
        frame(n),
        _rates(histories),
        note,
    )


def _check_seeds(runs: Sequence[Run]) -> None:
    known = [seed_of(run, None) for run in runs]
    for seed in known:
        same = [str(run.root) for run, other in zip(runs, known, strict=True) if other == seed]
        if seed is not None and len(same) > 1:
            raise MgkitError(
                f"{some(same)} have the same seed {seed}, which makes the interval too narrow: leave one out."
            )


def _rates(histories: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    """The learning rate over the epochs of the longest history, if all others agree with it."""
    longest = max(histories, key=len)
    if "learning_rate" not in longest:
        return None
    rates = longest[["epoch", "learning_rate"]].reset_index(drop=True)
    known = rates.set_index("epoch")["learning_rate"]
    for history in histories:
        if "learning_rate" not in history or not set(history["epoch"]) <= set(known.index):
            return None
        if not np.allclose(history["learning_rate"], known.loc[history["epoch"]], rtol=1e-6, atol=0):
            return None
    return rates


def _ranges(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1 to 3, 7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in parts)
