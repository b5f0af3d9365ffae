"""Clickable bars of recall, precision and F1 per class."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.results.run.folder import Run
from mgkit.results.stats.metrics import per_class
from mgkit.views.analysis.outcomes import KINDS, Outcomes
from mgkit.views.figures.classes import METRICS, ORDERS, bar_order, class_accuracy
from mgkit.views.figures.style import OUTPUT_NAMES, PaperFigure
from mgkit.views.widgets.shared.base import RunWidget, class_index, one_of, plain
from mgkit.views.widgets.shared.bundle import script
from mgkit.views.widgets.shared.selection import Selection

COLUMNS = ("recall", "recall_low", "recall_high", "precision", "precision_low", "precision_high", "f1")

Ints = npt.NDArray[np.int64]


class ClassAccuracy(RunWidget):
    """One bar per class and output, with 95 % Wilson intervals for recall and precision, and clip counts.

    A click on a bar selects the clips behind its number: for recall the clips of the class, for precision those
    predicted as the class, for F1 both; buttons (or the keys T, N, P) select its TP, FN or FP clips only. Shift adds
    them to the selection. The clip in focus is marked at its true and at its predicted class.

    Args:
        run: a run.
        split: an evaluated split.
        metric: "recall", "precision" or "f1".
        order: classes by decreasing "value" of the metric (of the best output), by decreasing "support" (clips), by
            "groups", or as "given"; classes without clips come last.
        selection: shared with other views; by default a new one.

    Raises:
        MgkitError: an unknown split, metric or order.

    `metric` and `order` are traits: set them to change what is shown.
    """

    _esm = script("accuracy/accuracy.js")
    best = traitlets.Unicode().tag(sync=True)  # the output that "value" sorts by
    metric = traitlets.Enum(METRICS, "recall").tag(sync=True)
    order = traitlets.Enum(ORDERS, "value").tag(sync=True)
    # By output, a list of K for each of COLUMNS and for "tp", "fn", "fp"; null where a number is not defined.
    values = traitlets.Dict().tag(sync=True)
    orders = traitlets.Dict().tag(sync=True)  # by metric and name, the labels in that order

    def __init__(
        self,
        run: Run,
        split: str = "test",
        *,
        metric: str = "recall",
        order: str = "value",
        selection: Selection | None = None,
    ) -> None:
        predictions = run.predictions(split)
        count, names = len(run.classes), run.classes.names
        self._outcomes = {
            name: Outcomes(predictions.labels, predictions.predicted(name), count)
            for name in predictions.outputs
        }
        tables = {
            name: per_class(predictions.labels, outcomes.predicted, count, names)
            for name, outcomes in self._outcomes.items()
        }
        values = {}
        for name, table in tables.items():
            correct = table["correct"].to_numpy()
            values[name] = {column: plain(table[column]) for column in COLUMNS} | {
                "tp": correct.tolist(),
                "fn": (table["support"].to_numpy() - correct).tolist(),
                "fp": (table["predicted"].to_numpy() - correct).tolist(),
            }
        super().__init__(
            run,
            predictions,
            split,
            selection,
            best=predictions.best,
            metric=one_of(metric, METRICS, "metric"),
            order=one_of(order, ORDERS, "order"),
            values=values,
            orders={
                metric: {
                    order: bar_order(tables[predictions.best], run.classes, metric, order).tolist()
                    for order in ORDERS
                }
                for metric in METRICS
            },
        )

    def select(
        self, name: str, kind: str | None = None, output: str | None = None, *, add: bool = False
    ) -> Selection:
        """Select what a click selects.

        Args:
            name: a class.
            kind: "TP", "FN" or "FP"; by default what a click on the bar of `metric` selects.
            output: "rgb", "pose" or "fused"; by default the best.
            add: in addition to what is selected.

        Raises:
            MgkitError: an unknown class, kind or output.
        """
        self._pick(self.run.classes.index(name), kind, output or self.best, add=add)
        return self.selection

    def to_figure(self, *, venue: str = "cvpr", columns: int | None = None) -> PaperFigure:
        """`mg.figures.class_accuracy` of what is shown: the same metric and order."""
        return class_accuracy(
            self.run, self.split, metric=self.metric, order=self.order, venue=venue, columns=columns
        )

    def _marks(self, rows: Ints, focus: int | None) -> dict[str, Any]:
        count = len(self.run.classes)
        held = np.bincount(self.predictions.labels[rows], minlength=count)
        predicted = {
            name: None if focus is None else int(outcomes.predicted[focus])
            for name, outcomes in self._outcomes.items()
        }
        true = None if focus is None else int(self.predictions.labels[focus])
        return {"held": held.tolist(), "focus_true": true, "focus_predicted": predicted}

    def _act(self, act: str, content: dict[str, Any]) -> None:
        if act == "pick":
            label = class_index(len(self.run.classes), content, "label")
            kind, output = content.get("kind"), str(content.get("output"))
            self._pick(label, kind, output, add=content.get("add") is True)

    def _pick(self, label: int, kind: Any, output: str, *, add: bool) -> None:
        outcomes = self._outcomes[one_of(output, self.outputs, "output")]
        name = self.run.classes.names[label]
        which = f" ({OUTPUT_NAMES[output]})" if len(self.outputs) > 1 else ""
        if kind is not None:
            self._select(
                outcomes.kind(one_of(str(kind), KINDS, "kind"), label), f"{kind} of {name}{which}", add=add
            )
        elif self.metric == "recall":
            self._select(outcomes.of(label), f"clips of {name}", add=add)
        elif self.metric == "precision":
            self._select(outcomes.taken_for(label), f"clips predicted as {name}{which}", add=add)
        else:
            rows = np.union1d(outcomes.of(label), outcomes.taken_for(label))
            self._select(rows, f"TP, FN and FP of {name}{which}", add=add)
