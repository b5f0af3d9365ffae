"""Filters of the error explorer, and the clips that pass them in order."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mgkit.data.splits import TAGS
from mgkit.errors import MgkitError
from mgkit.results.run.records import Predictions
from mgkit.results.run.review import Note
from mgkit.views.analysis.outcomes import KINDS, Outcomes
from mgkit.views.figures.style import OUTPUT_NAMES

OUTCOMES = ("all", "wrong", "correct", *KINDS)
SORTS = ("sure", "unsure", "id")
NOTED = ("any", "tagged", "untagged", *TAGS)
# What the pathways say of a clip, and how the filter is described.
PATHWAYS = {
    "any": "",
    "disagree": "RGB and pose disagree",
    "rgb right": "RGB right and pose wrong",
    "pose right": "pose right and RGB wrong",
}

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Filters:
    """One setting of the filters.

    Attributes:
        outcome: "all", "wrong" or "correct"; of a class also "TP", "FN" or "FP" ("wrong" is then FN and FP).
        label: of the class, None = any.
        output: the output that decides what is wrong, and whose confidence counts.
        subject: "" = any.
        low, high: probability of the predicted class, in [0, 1].
        pathways: "any"; "disagree", the clips on which RGB and pose predict different classes; "rgb right", those that
            RGB has right and pose wrong; or "pose right", the reverse.
        notes: "any", "tagged" (with a note), "untagged", or a tag.
        sort: "sure" (most confident first), "unsure", or "id".
    """

    outcome: str = "wrong"
    label: int | None = None
    output: str = "fused"
    subject: str = ""
    low: float = 0.0
    high: float = 1.0
    pathways: str = "any"
    notes: str = "any"
    sort: str = "sure"

    @property
    def narrows(self) -> bool:
        """True if any filter besides outcome and class is set."""
        return replace(self, outcome="all", label=None, sort="sure") != Filters("all", output=self.output)

    def wide(self) -> Filters:
        """The same outcome and class without other filters."""
        return Filters(self.outcome, self.label, self.output, sort=self.sort)


class Sieve:
    """Finds the clips that pass filters. Outcomes are computed once, so that each change of a filter is quick.

    Args:
        predictions: N clips.
        names: class names.
        subjects: (N,) subject of each clip, or None if unknown.
    """

    def __init__(
        self, predictions: Predictions, names: tuple[str, ...], subjects: npt.NDArray[Any] | None
    ) -> None:
        self._predictions, self._names, self._subjects = predictions, names, subjects
        self._ids = np.array(predictions.clip_ids, dtype=object)
        self.subjects = [] if subjects is None else sorted({str(s) for s in subjects if s})
        self.outcomes: dict[str, Outcomes] = {}
        self.confidence: dict[str, npt.NDArray[np.float32]] = {}
        for output in predictions.outputs:
            predicted = predictions.predicted(output)
            self.outcomes[output] = Outcomes(predictions.labels, predicted, len(names))
            self.confidence[output] = predictions.scores(output)[np.arange(len(predicted)), predicted]
        self.by_pathways: dict[str, Bools] = {}  # the clips of each of `PATHWAYS`; empty with one pathway
        if {"rgb", "pose"} <= set(predictions.outputs):
            rgb, pose = (self.outcomes[name].predicted for name in ("rgb", "pose"))
            differ = rgb != pose
            self.by_pathways = {
                "disagree": differ,
                "rgb right": differ & (rgb == predictions.labels),
                "pose right": differ & (pose == predictions.labels),
            }

    def checked(self, filters: Filters, change: Mapping[str, Any]) -> Filters:
        """Filters with a change; an impossible value raises a `MgkitError`."""
        allowed: dict[str, Container[Any]] = {
            "outcome": OUTCOMES, "output": self._predictions.outputs, "subject": ["", *self.subjects],
            "notes": NOTED, "sort": SORTS, "pathways": tuple(PATHWAYS), "label": (None, *range(len(self._names))),
        }  # fmt: skip
        for name, value in change.items():
            if name in ("low", "high"):
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                    raise MgkitError(f"{name} is {value!r}: a confidence is a number from 0 to 1.")
            elif name not in allowed:
                raise MgkitError(
                    f"unknown filter {name!r}: use one of {', '.join((*allowed, 'low', 'high'))}."
                )
            elif (
                value not in allowed[name]
                or isinstance(value, bool | float)  # True and 1.0 are in a range, but no index
            ):
                raise MgkitError(f"the filter {name} cannot be {value!r}: use one of {allowed[name]}.")
        new = replace(filters, **change)
        if new.low > new.high:
            new = (
                replace(new, high=new.low) if "low" in change and "high" not in change else replace(new, low=new.high)
            )  # fmt: skip
        if new.pathways != "any" and not self.by_pathways:
            raise MgkitError("the filter pathways needs a run with both pathways: this one has only one.")
        if new.label is None and new.outcome in KINDS:
            new = replace(new, outcome="correct" if new.outcome == "TP" else "wrong")
        elif new.label is not None and new.outcome == "correct":
            new = replace(new, outcome="TP")
        return new

    def picked(self, filters: Filters) -> Ints:
        """The rows with the outcome and class of the filters."""
        outcomes, label = self.outcomes[filters.output], filters.label
        right = outcomes.labels == outcomes.predicted
        if label is None:
            keep = {"all": np.ones(len(right), bool), "wrong": ~right, "correct": right}
            return np.flatnonzero(keep[filters.outcome])
        if filters.outcome in KINDS:
            return outcomes.kind(filters.outcome, label)
        rows = np.union1d(outcomes.of(label), outcomes.taken_for(label))
        return rows if filters.outcome == "all" else rows[~right[rows]]

    def passing(self, rows: Ints, filters: Filters, notes: Mapping[str, Note]) -> Ints:
        """The rows that also pass the other filters."""
        sure = self.confidence[filters.output][rows]
        # The page sets whole percents: 100 % includes what rounding puts above 1.
        keep = (sure >= filters.low - 1e-6) & ((sure <= filters.high + 1e-6) | (filters.high == 1))
        if filters.subject:
            assert self._subjects is not None
            keep &= self._subjects[rows] == filters.subject
        if filters.pathways != "any":
            keep &= self.by_pathways[filters.pathways][rows]
        if filters.notes != "any":
            noted = {
                clip_id for clip_id, note in notes.items() if filters.notes not in TAGS or filters.notes in note.tags
            }  # fmt: skip
            there = np.fromiter((clip_id in noted for clip_id in self._ids[rows]), bool, len(rows))
            keep &= ~there if filters.notes == "untagged" else there
        return rows[keep]

    def ordered(self, rows: Ints, filters: Filters) -> Ints:
        """The rows in the order of the filters; equally confident clips by id."""
        rows = rows[np.argsort(self._ids[rows].astype(str), kind="stable")]
        if filters.sort == "id":
            return rows
        sure = self.confidence[filters.output][rows]
        return rows[np.argsort(-sure if filters.sort == "sure" else sure, kind="stable")]

    def what(self, filters: Filters) -> str:
        """Outcome and class in words: "FN of rub hands (Fused)"."""
        which = f" ({OUTPUT_NAMES[filters.output]})" if len(self._predictions.outputs) > 1 else ""
        if filters.label is None:
            return "all clips" if filters.outcome == "all" else f"{filters.outcome} clips{which}"
        kind = {"all": "TP, FN and FP", "wrong": "FN and FP"}.get(filters.outcome, filters.outcome)
        return f"{kind} of {self._names[filters.label]}{which}"

    def conditions(self, filters: Filters) -> str:
        """The other filters in words, "" if there are none."""
        words = [f"subject {filters.subject}"] if filters.subject else []
        if filters.low > 0 or filters.high < 1:
            words.append(f"confidence {100 * filters.low:.0f} to {100 * filters.high:.0f} %")
        words += [PATHWAYS[filters.pathways]] if filters.pathways != "any" else []
        if filters.notes != "any":
            words.append(filters.notes if filters.notes in NOTED[:3] else f"tagged {filters.notes}")
        return ", ".join(words)
