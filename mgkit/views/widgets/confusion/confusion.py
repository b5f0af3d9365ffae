"""A clickable confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.errors import MgkitError
from mgkit.results.compare.runs import aligned_runs, run_names
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.records import Predictions
from mgkit.results.stats.metrics import confusion_matrix
from mgkit.views.analysis.outcomes import ORDERS, Outcomes, Parts, class_order, class_parts
from mgkit.views.figures.confusion import POWER, confusion
from mgkit.views.figures.style import OUTPUT_NAMES, PaperFigure
from mgkit.views.widgets.shared.base import RunWidget, class_index, one_of
from mgkit.views.widgets.shared.bundle import script
from mgkit.views.widgets.shared.selection import Selection

LISTED = 10  # confusions in the list at the side

Ints = npt.NDArray[np.int64]


class ConfusionMatrix(RunWidget):
    """Rows are true classes, columns predicted classes; a click selects the clips behind a number.

    A cell selects its clips, a row label the clips of a class, a column label all clips predicted as that class; Shift
    adds them to the selection. Arrow keys and Enter do the same. The cell of the clip in focus is marked.

    With `other`, colours show the difference run - other, and a click selects the clips of the cell, row or column on
    which the two runs differ.

    Args:
        run: a run.
        split: an evaluated split.
        output: "rgb", "pose" or "fused"; by default fused, or the only one.
        other: a run to compare with, over the same classes, tested on the same clips.
        common: compare runs that were tested on different clips, on the clips that both have.
        selection: shared with other views; by default a new one.
        normalise: show percent of the true class instead of clips.
        order: "groups", "cluster" or "given", as in `mg.figures.confusion`.
        classes: names of the classes to show, in this order; the rest are one grey row and column, "others".
        most_confused: show this number of classes, those of the most frequent confusions, and the rest likewise.

    Raises:
        MgkitError: an unknown split, output, class or order, or an `other` that cannot be compared.

    `output`, `normalise` and `order` are traits: set them to change what is shown.
    """

    _esm = script("confusion/confusion.js")
    names: traitlets.List[Any] = traitlets.List().tag(sync=True)  # of the run, and of `other`
    note = traitlets.Unicode().tag(sync=True)  # on clips that were left out, or ""
    output = traitlets.Unicode().tag(sync=True)
    order = traitlets.Enum(ORDERS, "groups").tag(sync=True)
    normalise = traitlets.Bool(True).tag(sync=True)
    power = traitlets.Float(POWER).tag(sync=True)  # of the colour scale
    others = traitlets.Int(-1).tag(
        sync=True
    )  # row and column of the classes not shown by themselves; -1 = none
    # What is drawn of the output: "counts" (M, M), "other" the same or null, "orders" by name, "top" confusions.
    matrix = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        run: Run | str | Path,
        split: str = "test",
        output: str | None = None,
        other: Run | str | Path | None = None,
        common: bool = False,
        selection: Selection | None = None,
        *,
        normalise: bool = True,
        order: str = "groups",
        classes: Sequence[str] | None = None,
        most_confused: int | None = None,
    ) -> None:
        run, other = as_run(run), None if other is None else as_run(other)
        predictions, theirs, note = run.predictions(split), None, ""
        outputs = predictions.outputs
        if other is not None:
            (predictions, theirs), note = aligned_runs([run, other], split, common=common)
            outputs = [name for name in predictions.outputs if name in theirs.outputs]
            if not outputs:
                raise MgkitError(f"{run.root} and {other.root} have no output (rgb, pose, fused) in common.")
        default = predictions.best if predictions.best in outputs else outputs[0]
        output = one_of(output or default, outputs, "output")
        self.other, self._theirs, self._common = other, theirs, common
        counts = confusion_matrix(predictions.labels, predictions.predicted(output), len(run.classes))
        everything = np.arange(len(run.classes))
        self._parts = parts = class_parts(run.classes, counts, everything, classes, most_confused)
        self._chosen: dict[str, Any] = {"classes": classes, "most_confused": most_confused}
        self._shown = parts.as_classes(run.classes)
        self._outcomes = {name: _outcomes(predictions, name, parts) for name in outputs}
        self._their_outcomes = {name: _outcomes(theirs, name, parts) for name in outputs} if theirs else {}
        super().__init__(
            run,
            predictions,
            split,
            selection,
            classes={"names": list(parts.names), "groups": parts.groups(run.classes)},
            others=parts.others,
            names=[run.name] if other is None else run_names([run, other]),
            note=note,
            outputs=outputs,
            output=output,
            order="given" if classes is not None else one_of(order, ORDERS, "order"),
            normalise=normalise,
        )
        self.matrix = self._matrix()

    def select(
        self, true: str | None = None, predicted: str | None = None, *, add: bool = False
    ) -> Selection:
        """Select what a click selects: a cell, or with one name a row or a column.

        Args:
            true, predicted: class names, or "others"; None = any.
            add: in addition to what is selected.

        Raises:
            MgkitError: an unknown class, or neither name.
        """
        if true is None and predicted is None:
            raise MgkitError("name a true class, a predicted class or both.")
        both = (
            None if name is None else self._parts.index(name, self.run.classes) for name in (true, predicted)
        )
        self._pick(*both, add=add)
        return self.selection

    def to_figure(self, *, venue: str = "cvpr", columns: int | None = None) -> PaperFigure:
        """`mg.figures.confusion` of what is shown: the same output, order and scale, and the same comparison."""
        return confusion(
            self.run,
            self.split,
            self.output,
            normalise=self.normalise,
            order=self.order,
            other=self.other,
            **self._chosen,
            common=self._common,
            venue=venue,
            columns=columns,
        )

    @traitlets.observe("output")
    def _output_changed(self, _: Any) -> None:
        if self.matrix:  # not while the widget is being made
            self.matrix = self._matrix()
            self._show(self.selection.state)

    def _matrix(self) -> dict[str, Any]:
        counts = self._outcomes[self.output].counts
        theirs = self._their_outcomes[self.output].counts if self._their_outcomes else None
        orders = {name: self._parts.ordered(class_order(self._shown, counts, name)) for name in ORDERS}
        return {
            "counts": counts.tolist(),
            "other": None if theirs is None else theirs.tolist(),
            "orders": orders,
            "top": self._top(counts, theirs),
        }

    def _top(self, counts: Ints, theirs: Ints | None) -> list[list[int]]:
        """[true, predicted] of the most frequent confusions, or of those that changed most between the runs."""
        if theirs is None:
            change, share = counts.copy(), counts / np.maximum(counts.sum(1), 1)[:, None]
        else:
            change, share = np.abs(counts - theirs), np.zeros(counts.shape)
        np.fill_diagonal(change, 0)
        largest = np.lexsort((-share.ravel(), -change.ravel()))[:LISTED]
        pairs = np.stack(np.unravel_index(largest, change.shape), 1)
        return [[int(t), int(p)] for t, p in pairs if change[t, p]]

    def _marks(self, rows: Ints, focus: int | None) -> dict[str, Any]:
        true, predicted = self._outcomes[self.output].labels, self._predicted
        count = len(self._parts)
        held = np.bincount(true[rows] * count + predicted[rows], minlength=count * count)
        cells = [[int(cell) // count, int(cell) % count, int(held[cell])] for cell in np.flatnonzero(held)]
        return {
            "cells": cells,
            "focus_cell": None if focus is None else [int(true[focus]), int(predicted[focus])],
        }

    @property
    def _predicted(self) -> Ints:
        return self._outcomes[self.output].predicted

    def _act(self, act: str, content: dict[str, Any]) -> None:
        count = len(self._parts)
        if act == "pick":
            true = None if content.get("true") is None else class_index(count, content, "true")
            predicted = None if content.get("predicted") is None else class_index(count, content, "predicted")
            if true is None and predicted is None:
                raise MgkitError("the page sent true = predicted = None: at least one class is expected.")
            self._pick(true, predicted, add=content.get("add") is True)

    def _pick(self, true: int | None, predicted: int | None, *, add: bool) -> None:
        ours = self._outcomes[self.output].pick(true, predicted)
        what = self._describe(true, predicted)
        if self.other is None:
            self._select(ours, what, add=add)
            return
        theirs = self._their_outcomes[self.output].pick(true, predicted)
        if predicted is None:  # a row holds the same clips in both runs: select those on which they disagree
            both = ours[self._predicted[ours] != self._their_outcomes[self.output].predicted[ours]]
            what += f" on which {self.names[0]} and {self.names[1]} disagree"
        else:
            both = np.setxor1d(ours, theirs, assume_unique=True)
            what += f" by only one of {self.names[0]} and {self.names[1]}"
        self._select(both, what, add=add)

    def _describe(self, true: int | None, predicted: int | None) -> str:
        names = self._parts.names
        if predicted is None:
            assert true is not None
            return f"clips of {names[true]}"
        which = f" ({OUTPUT_NAMES[self.output]})" if len(self.outputs) > 1 else ""
        if true is None:
            return f"clips predicted as {names[predicted]}{which}"
        if true == predicted:
            return f"TP of {names[true]}{which}"
        return f"{names[true]} predicted as {names[predicted]}{which}"


def _outcomes(predictions: Predictions, output: str, parts: Parts) -> Outcomes:
    return Outcomes(parts.of(predictions.labels), parts.of(predictions.predicted(output)), len(parts))
