"""Late fusion: the weighted mean of the probabilities of several systems, keyed by clip id.

    p(k | clip) = sum over members m of w_m p_m(k | clip),   w_m >= 0,   sum of w_m = 1

`Ensemble.to_run` makes a run of the result, which tables and figures take as any other. `search` finds weights on
validation clips, and `contributions` measures what each member adds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, counted
from mgkit.results.ensembles.members import FUSION, Given, Members, Temperatures, gather, weights_of
from mgkit.results.run.files import FORMAT
from mgkit.results.run.folder import Run, begin_run, write_predictions
from mgkit.results.run.records import Floats
from mgkit.results.scores.calibration import Temperature, fit_temperature
from mgkit.results.scores.scores import Scores
from mgkit.results.stats.metrics import WILSON, accuracies, top1
from mgkit.results.stats.resampling import true_losses

__all__ = ["Ensemble", "ensemble", "fit_temperatures", "fuse"]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members, their weights, and the scores of their weighted mean.

    Attributes:
        members: the probabilities of each (after its temperature).
        weights: (M,), which sum to 1.
        scores: of the fusion.
    """

    members: Members
    weights: npt.NDArray[np.float64]
    scores: Scores

    def __repr__(self) -> str:
        parts = ", ".join(f"{n} {w:.3g}" for n, w in zip(self.members.names, self.weights, strict=True))
        more = f"; {self.members.note}" if self.members.note else ""
        if self.scores.labels is not None:
            more += f"; Top-1 {100 * top1(self.scores.labels, self.scores.predicted()):.1f} %"
        return (
            f"Ensemble({counted(len(self.scores), 'clip')} of {self.members.split!r}; weights {parts}{more})"
        )

    def member(self, name: str) -> Scores:
        """The scores of one member."""
        m = self.members
        if name not in m.names:
            raise MgkitError(f"there is no member {name!r}: the members are {', '.join(m.names)}.")
        array = m.probabilities[m.names.index(name)]
        return Scores(m.clip_ids, array, m.labels, m.classes, m.split, name)

    def table(self) -> pd.DataFrame:
        """One row per member and one, "ensemble", for the fusion.

        Columns: `weight`, `clips`, `top1` with its 95 % Wilson interval `top1_low`, `top1_high`,
        `macro_f1`, `mean_class_accuracy`, all in [0, 1], and `log_loss` in nats.
        """
        labels = self.members.truth()
        rows = {}
        everything = [*self.members.probabilities, self.scores.probabilities]
        for name, weight, p in zip(
            (*self.members.names, FUSION), (*self.weights, np.nan), everything, strict=True
        ):
            rows[name] = {"weight": weight, **accuracies(labels, p.argmax(1), p.shape[1])}
            rows[name]["log_loss"] = float(true_losses(labels, p).mean())
        table = pd.DataFrame.from_dict(rows, orient="index").astype({"clips": int})
        table.index.name = "member"
        table.attrs |= {"top1_interval": WILSON, "note": self.members.note}
        return table

    def to_run(self, root: str | Path, *, name: str | None = None) -> Run:
        """Write the fusion as a run folder with the one output "fused", so that every table, figure and widget works
        on it. Several splits of the same members and weights may go into the same folder.

        Where the members are runs on one clip folder, so is this one, and its clips can be looked at.

        Raises:
            MgkitError: labels or class names are unknown, or the folder holds another run.
        """
        root, m = Path(root), self.members
        m.truth()
        if m.classes is None:
            raise MgkitError(
                "no member knows the class names: pass classes= to mg.scores.read, or give a run among the members."
            )
        if any(run.root.resolve() == root.resolve() for run in m.runs):
            raise MgkitError(f"{root} is the folder of a member: choose another.")
        config: dict[str, Any] = {
            "format": FORMAT,
            **({} if name is None else {"name": name}),
            "recipe": {
                "ensemble": list(m.names),
                "weights": self.weights.tolist(),
                "temperatures": m.temperatures.tolist(),
            },
            "data": _data(m, m.classes, root),
            "pathways": [],
        }
        run = begin_run(root, config, {}, state="finished", epochs=0)
        write_predictions(root, m.split, self.scores.predictions())
        return run


def ensemble(
    members: Given,
    split: str = "test",
    *,
    weights: Sequence[float] | Mapping[str, float] | None = None,
    temperatures: Temperatures | None = None,
    output: str | None = None,
    subjects: Mapping[str, str] | None = None,
    common: bool = False,
) -> Ensemble:
    """Fuse members by the weighted mean of their probabilities.

    Args:
        members: runs, run folders, score files or `Scores`; a dictionary gives them names. The clips may be in any
            order; they are joined by id.
        split: the evaluated split.
        weights: (M,) of 0 or more, or by name; divided by their sum. Equal by default.
        temperatures: (M,) above 0, or by name: each member is tempered before (`mg.calibration.temper`), as by
            `mg.ensembles.fit_temperatures`.
        output: "rgb", "pose" or "fused" of runs; by default the best that each has.
        subjects: {clip id: subject}, for intervals; by default looked up in the clip folder of the runs.
        common: fuse members that were tested on different clips, on the clips that all have.

    Raises:
        MgkitError: members over different clips, labels or classes, by name; invalid weights.
    """
    found = gather(members, split, output=output, subjects=subjects, temperatures=temperatures, common=common)
    share = weights_of(weights, found.names)
    fused = Scores(
        found.clip_ids, fuse(found.probabilities, share), found.labels, found.classes, split, FUSION
    )
    return Ensemble(found, share, fused)


def fit_temperatures(
    members: Given, split: str = "val", *, output: str | None = None
) -> dict[str, Temperature]:
    """The temperature of each member by name, fitted on validation clips, as `ensemble` and `search_weights` take them:
    members that are each as sure as they are right weigh as they should."""
    found = gather(members, split, output=output)
    return {
        name: fit_temperature(Scores(found.clip_ids, p, found.truth()))
        for name, p in zip(found.names, found.probabilities, strict=True)
    }


def fuse(probabilities: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """(N, K) weighted mean of (M, N, K), with weights (M,) that sum to 1."""
    p, w = np.asarray(probabilities), np.asarray(weights, np.float64)
    total = np.zeros(p.shape[1:], np.float64)
    for share, one in zip(w, p, strict=True):  # one member at a time: no second copy of all
        total += share * one
    return total.astype(np.float32)


def _data(m: Members, classes: Classes, root: Path) -> dict[str, Any]:
    """The data of the run: that of the member runs if they agree, else counts of these clips alone."""
    known = [run.config["data"] for run in m.runs]
    prints = {data["fingerprint"] for data in known}
    if len(known) == len(m) and len(prints) == 1 and None not in prints:
        place = (m.runs[0].root.resolve() / known[0]["root"]).resolve()
        try:
            path = Path(os.path.relpath(place, root.resolve())).as_posix()
        except ValueError:  # two drives
            path = str(place)
        return {**known[0], "root": path}
    counts = np.bincount(m.truth(), minlength=len(classes)).tolist()
    skeleton = next((data["skeleton"] for data in known if data["skeleton"] is not None), None)
    return {
        "root": None, "fingerprint": None, "classes": classes.to_dict(), "skeleton": skeleton,
        "splits": {m.split: counts},
    }  # fmt: skip
