"""Clickable comparison of two runs: the clips that one fixed and broke of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, as_run
from mgkit.views.analysis.outcomes import BEST, FATES, TO, Changes, changes, outputs_to_compare
from mgkit.views.figures.classes import compared_names, run_comparison
from mgkit.views.figures.style import OUTPUT_NAMES, PaperFigure
from mgkit.views.widgets.confusion import ConfusionMatrix
from mgkit.views.widgets.shared.base import RunWidget, class_index, one_of
from mgkit.views.widgets.shared.bundle import script, styles
from mgkit.views.widgets.shared.selection import Selection

LISTED = 40  # clips in each list


class RunComparison(RunWidget):
    """The clips that `other` fixed and broke compared with `one`, the baseline: how many, in which classes, and which.

    With one run twice, the clips that one of its outputs has right and another wrong: "rgb to pose" are those that pose
    fixes and breaks of RGB.

    A click in the 2x2 table or on a bar selects its clips; Shift adds them to the selection. A click in the list of
    clips shows that clip. Tab and arrow keys move, Enter selects, Escape clears the selection.

    Args:
        one: the baseline.
        other: the run to compare with it, over the same classes, tested on the same clips; or the same run.
        split: an evaluated split of both.
        output: "rgb", "pose" or "fused" of both, or one of each: ("rgb", "pose"), or "rgb to pose". By default the best
            of each ("best" where they differ), and the first two outputs of one run.
        common: compare runs that were tested on different clips, on the clips that both have.
        selection: shared with other views; by default a new one.

    Raises:
        MgkitError: an unknown split or output, runs over different clips, classes or labels.

    `output` is a trait: set it to change what is shown.
    """

    _esm = script("comparison/comparison.js")
    _css = styles("comparison/comparison.css")
    names: traitlets.List[Any] = traitlets.List().tag(sync=True)  # of the baseline and of the other
    output = traitlets.Unicode().tag(sync=True)
    # "totals" by fate, "words", "p"; "order" of the classes that changed, with (K, 4) "counts" by fate; and for
    # "fixed" and "broken" the clips "listed": "clip_id", "true", "before", "after" (classes), "change" (of confidence).
    found = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        one: Run | str | Path,
        other: Run | str | Path,
        split: str = "test",
        *,
        output: str | tuple[str, str] | None = None,
        common: bool = False,
        selection: Selection | None = None,
    ) -> None:
        one, other = as_run(one), as_run(other)
        default = changes(one, other, split, output, common=common)
        outputs = outputs_to_compare(one, other, default.before, default.after)
        pair = TO.join(default.outputs)
        if default.paired and pair not in outputs:
            outputs = [*outputs, pair]
        shown = pair if default.paired else str(output or (BEST if BEST in outputs else default.outputs[0]))
        self.one, self.other, self._common, self._cached = one, other, common, {shown: default}
        super().__init__(
            other,
            default.after,
            split,
            selection,
            names=list(compared_names(one, other, default)),
            outputs=outputs,
            output=one_of(shown, outputs, "output"),
        )
        self.found = self._found()

    @property
    def changes(self) -> Changes:
        """The comparison that is shown, as arrays."""
        if self.output not in self._cached:
            self._cached[self.output] = changes(
                self.one, self.other, self.split, self.output, common=self._common
            )
        return self._cached[self.output]

    def select(self, fate: str, name: str | None = None, *, add: bool = False) -> Selection:
        """Select what a click selects.

        Args:
            fate: "right" (in both), "fixed", "broken" or "wrong" (in both).
            name: of one class only; by default of all.
            add: in addition to what is selected.

        Raises:
            MgkitError: an unknown fate or class.
        """
        self._pick(fate, None if name is None else self.one.classes.index(name), add=add)
        return self.selection

    def confusion(self) -> ConfusionMatrix:
        """The difference of the confusion matrices, other - one, on the same selection.

        Raises:
            MgkitError: different outputs of the two runs are compared, which one matrix cannot show.
        """
        if self.output not in self.predictions.outputs:
            both = [name for name in self.outputs if name in self.predictions.outputs]
            raise MgkitError(
                f"{self.names[0]} and {self.names[1]} are compared by different outputs: choose an output that both "
                f"have ({', '.join(both) or 'there is none'})."
            )
        return ConfusionMatrix(
            self.other, self.split, self.output, other=self.one, common=self._common, selection=self.selection
        )

    def to_figure(self, *, venue: str = "cvpr", columns: int | None = None) -> PaperFigure:
        """`mg.figures.run_comparison` of what is shown."""
        return run_comparison(
            self.one,
            self.other,
            self.split,
            output=self.output,
            common=self._common,
            venue=venue,
            columns=columns,
        )

    @traitlets.observe("output")
    def _output_changed(self, _: Any) -> None:
        if self.found:  # not while the widget is being made
            self.names = list(compared_names(self.one, self.other, self.changes))
            self.found = self._found()
            self._show(self.selection.state)

    def _found(self) -> dict[str, Any]:
        now = self.changes
        totals = {fate: int((now.fate == i).sum()) for i, fate in enumerate(FATES)}
        which = {
            fate: np.flatnonzero(now.fate == FATES.index(fate))[
                np.argsort(-np.abs(now.confidence[now.fate == FATES.index(fate)]), kind="stable")
            ][:LISTED]
            for fate in ("fixed", "broken")
        }
        before, after = now.before.predicted(now.outputs[0]), now.after.predicted(now.outputs[1])
        return {
            "totals": totals,
            "words": now.words((self.names[0], self.names[1])),
            "p": now.test.p_mid,
            "shown": [OUTPUT_NAMES[name] for name in now.outputs],
            "order": now.order().tolist(),
            "counts": now.counts.tolist(),
            "listed": {
                fate: [
                    {
                        "clip_id": now.after.clip_ids[i], "true": int(now.after.labels[i]), "before": int(before[i]),
                        "after": int(after[i]), "change": float(now.confidence[i]),
                    }
                    for i in rows
                ]
                for fate, rows in which.items()
            },
        }  # fmt: skip

    def _marks(self, rows: npt.NDArray[np.int64], focus: int | None) -> dict[str, Any]:
        now, count = self.changes, len(self.one.classes)
        held = np.bincount(now.after.labels[rows] * 4 + now.fate[rows], minlength=4 * count).reshape(count, 4)
        place = None if focus is None else [int(now.after.labels[focus]), FATES[int(now.fate[focus])]]
        return {"held": held.tolist(), "focus_place": place}

    def _act(self, act: str, content: dict[str, Any]) -> None:
        add = content.get("add") is True
        if act == "pick":
            label = (
                None if content.get("label") is None else class_index(len(self.one.classes), content, "label")
            )
            self._pick(str(content.get("fate")), label, add=add)
        elif act == "look":
            self._look(str(content.get("clip_id")), str(content.get("fate")))

    def _pick(self, fate: str, label: int | None, *, add: bool) -> None:
        now = self.changes
        keep = now.fate == FATES.index(one_of(fate, FATES, "fate"))
        if label is not None:
            keep &= now.after.labels == label
        of = "" if label is None else f" of {self.one.classes.names[label]}"
        before, after = self.names
        how = f"{fate} by {after}" if fate in ("fixed", "broken") else f"{fate} in both {before} and {after}"
        self._select(np.flatnonzero(keep), f"clips{of} {how}", add=add)

    def _look(self, clip_id: str, fate: str) -> None:
        """Put a clip of the lists in focus; if it is not selected, the clips of its fate are selected first."""
        if clip_id not in self._row:
            raise MgkitError(f"the page asked for clip {clip_id!r}, which is not compared.")
        if clip_id not in self.selection.clip_ids:
            self._pick(fate, None, add=False)
        self.selection.focus_on(clip_id, source=type(self).__name__)
