"""Clickable bars of recall, precision and F1 per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.results.run.folder import Run, as_run
from mgkit.views.analysis.outcomes import KINDS, Outcomes
from mgkit.views.figures.classes import METRICS, ORDERS, bar_order, class_accuracy, class_tables
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
        classes: names of the classes to show, in this order ("given"); the rest are pooled as one grey class,
            "others", last in every order.
        most_confused: show this number of classes, those of the most frequent confusions, and the rest likewise.
        selection: shared with other views; by default a new one.

    Raises:
        MgkitError: an unknown split, metric, class or order.

    `metric` and `order` are traits: set them to change what is shown.
    """

    _esm = script("accuracy/accuracy.js")
    best = traitlets.Unicode().tag(sync=True)  # the output that "value" sorts by
    metric = traitlets.Enum(METRICS, "recall").tag(sync=True)
    order = traitlets.Enum(ORDERS, "value").tag(sync=True)
    # By output, a list of K for each of COLUMNS and for "tp", "fn", "fp"; null where a number is not defined.
    values = traitlets.Dict().tag(sync=True)
    orders = traitlets.Dict().tag(sync=True)  # by metric and name, the labels in that order
    others = traitlets.Int(-1).tag(sync=True)  # the classes not shown by themselves; -1 = none

    def __init__(
        self,
        run: Run | str | Path,
        split: str = "test",
        *,
        metric: str = "recall",
        order: str = "value",
        classes: Sequence[str] | None = None,
        most_confused: int | None = None,
        selection: Selection | None = None,
    ) -> None:
        run = as_run(run)
        predictions = run.predictions(split)
        count = len(run.classes)
        self._outcomes = {
            name: Outcomes(predictions.labels, predictions.predicted(name), count)
            for name in predictions.outputs
        }
        tables, self._parts = class_tables(run, predictions, "recall", "given", classes, most_confused)
        self._chosen: dict[str, Any] = {"classes": classes, "most_confused": most_confused}
        shown = self._parts.as_classes(run.classes)
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
            order="given" if classes is not None else one_of(order, ORDERS, "order"),
            classes={"names": list(shown.names), "groups": self._parts.groups(run.classes)},
            others=self._parts.others,
            values=values,
            orders={
                metric: {
                    order: self._parts.ordered(bar_order(tables[predictions.best], shown, metric, order))
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
            name: a class, or "others".
            kind: "TP", "FN" or "FP"; by default what a click on the bar of `metric` selects.
            output: "rgb", "pose" or "fused"; by default the best.
            add: in addition to what is selected.

        Raises:
            MgkitError: an unknown class, kind or output.
        """
        self._pick(self._parts.index(name, self.run.classes), kind, output or self.best, add=add)
        return self.selection

    def to_figure(self, *, venue: str = "cvpr", columns: int | None = None) -> PaperFigure:
        """`mg.figures.class_accuracy` of what is shown: the same metric and order."""
        return class_accuracy(
            self.run,
            self.split,
            metric=self.metric,
            order=self.order,
            **self._chosen,
            venue=venue,
            columns=columns,
        )

    def _marks(self, rows: Ints, focus: int | None) -> dict[str, Any]:
        of = self._parts.of
        held = np.bincount(of(self.predictions.labels[rows]), minlength=len(self._parts))
        predicted = {
            name: None if focus is None else int(of(outcomes.predicted[focus]))
            for name, outcomes in self._outcomes.items()
        }
        true = None if focus is None else int(of(self.predictions.labels[focus]))
        return {"held": held.tolist(), "focus_true": true, "focus_predicted": predicted}

    def _act(self, act: str, content: dict[str, Any]) -> None:
        if act == "pick":
            label = class_index(len(self._parts), content, "label")
            kind, output = content.get("kind"), str(content.get("output"))
            self._pick(label, kind, output, add=content.get("add") is True)

    def _pick(self, position: int, kind: Any, output: str, *, add: bool) -> None:
        outcomes = self._outcomes[one_of(output, self.outputs, "output")]
        name = self._parts.names[position]
        which = f" ({OUTPUT_NAMES[output]})" if len(self.outputs) > 1 else ""
        kinds = {"recall": ("TP", "FN"), "precision": ("TP", "FP"), "f1": KINDS}[self.metric]
        what = {
            "recall": f"clips of {name}",
            "precision": f"clips predicted as {name}{which}",
            "f1": f"TP, FN and FP of {name}{which}",
        }[self.metric]
        if kind is not None:
            kinds, what = (one_of(str(kind), KINDS, "kind"),), f"{kind} of {name}{which}"
        rows = [outcomes.kind(one, int(label)) for label in self._parts.labels(position) for one in kinds]
        self._select(np.unique(np.concatenate(rows)), what, add=add)
