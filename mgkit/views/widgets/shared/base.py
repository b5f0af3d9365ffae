"""What every widget of a run has in common: its files, its place at a `Selection`, its picture, its fallback."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Predictions, Run
from mgkit.views.figures.style import PaperFigure
from mgkit.views.widgets.shared.selection import Selected, Selection

FOLDER = Path(__file__).resolve().parents[1]
FALLBACK_DPI = (
    130  # of the picture that stands in for a widget: sharp enough to read, small in a saved notebook
)


def source(*names: str) -> str:
    """The files of these names in this folder, one after the other: a widget's script begins with `common.js`."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names)


class RunWidget(anywidget.AnyWidget):
    """A view of a run's predictions on one split. Subclasses draw `selected`, answer `_act`, and have `to_figure`.

    Args:
        run: a run.
        predictions: those it shows.
        split: the split they are of, for people.
        selection: what is selected; by default one of its own.

    Attributes:
        selection: shared by every view it was given to.
    """

    _css = source("shared/widgets.css")
    # What the page is told of the selection: "description", "count" clips of which "here" are in this split, and what
    # a subclass adds in `_marks`.
    selected = traitlets.Dict().tag(sync=True)
    split = traitlets.Unicode().tag(sync=True)
    _stop_watching: Callable[[], None] | None = None  # a widget whose making failed watches nothing

    def __init__(
        self, run: Run, predictions: Predictions, split: str, selection: Selection | None, **state: Any
    ) -> None:
        if not isinstance(selection, Selection | None):
            raise MgkitError(
                f"selection is a {type(selection).__name__}: pass a Selection, or nothing for one of its own."
            )
        self.run, self.predictions = run, predictions
        self.selection = Selection() if selection is None else selection
        self._row = {clip_id: i for i, clip_id in enumerate(predictions.clip_ids)}
        self._ids = np.array(predictions.clip_ids, dtype=object)
        super().__init__(split=split, **state)
        self._stop_watching = self.selection.watch(self._show)
        self.on_msg(self._heard)
        self._show(self.selection.state)

    def close(self) -> None:
        """Take the widget off the page, and stop listening to the selection."""
        if self._stop_watching is not None:
            self._stop_watching()
        super().close()

    def to_figure(self, *, venue: str = "cvpr", columns: int | None = None) -> PaperFigure:
        """The paper figure of what the widget shows now.

        Args:
            venue: a key of `mg.figures.VENUES`, which fixes the width.
            columns: 1 or 2; by default what suits the number of classes.
        """
        raise NotImplementedError

    # -----------------------------------------------------------------------------------------------------------------
    # For subclasses

    def _marks(self, rows: npt.NDArray[np.int64], focus: int | None) -> dict[str, Any]:
        """What to mark for the selected rows of the predictions, in any order, and the row in focus."""
        raise NotImplementedError

    def _act(self, act: str, content: dict[str, Any]) -> None:
        """Answer what a person did in the page."""
        raise NotImplementedError

    def _select(self, rows: Iterable[int], description: str, *, add: bool = False) -> None:
        """Select these rows of the predictions; with `add`, on top of what is selected."""
        ids = self._ids[np.asarray(rows, np.int64)].tolist()
        before = self.selection.state
        if add and before.clip_ids:
            both = tuple(dict.fromkeys((*before.clip_ids, *ids)))
            if len(both) == len(before.clip_ids):
                return  # they are all selected already
            self.selection.set(
                both,
                focus=before.focus,
                description=f"{before.description} + {description}",
                source=type(self).__name__,
            )
            return
        focus = before.focus if before.focus in ids else None
        self.selection.set(ids, focus=focus, description=description, source=type(self).__name__)

    # -----------------------------------------------------------------------------------------------------------------

    def _show(self, state: Selected) -> None:
        row = self._row
        rows = np.array([row[clip_id] for clip_id in state.clip_ids if clip_id in row], np.int64)
        focus = None if state.focus is None else row.get(state.focus)
        self.selected = {
            "description": state.description,
            "count": len(state),
            "here": len(rows),
            "focus": state.focus if focus is not None else None,
            **self._marks(rows, focus),
        }

    def _heard(self, _: object, content: Any, __: object) -> None:
        act = content.get("act") if isinstance(content, dict) else None
        if not isinstance(act, str):
            return  # a message of anywidget's own
        if act == "clear":
            self.selection.clear(source=type(self).__name__)
        else:
            self._act(act, content)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and for places without widgets (GitHub, a PDF, no kernel) its picture and a line that says so."""
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is None:
            return bundle
        name, where = type(self).__name__, "Run the cell in JupyterLab, VS Code or Colab."
        data["text/plain"] = repr(self)
        try:
            figure = self.to_figure()
        except MgkitError as error:  # nothing is selected, say: the widget is shown all the same
            told = html.escape(
                f"{name} has no picture to show here, without a kernel for widgets: {error} {where}"
            )
            data["text/html"] = f"<p><em>{told}</em></p>"
            return bundle
        words = f"A picture of {name}: here is no kernel with widgets to click in. {where}"
        data["text/html"] = stand_in(figure, words)
        return bundle


def stand_in(figure: PaperFigure, words: str, note: str | None = None) -> str:
    """A figure under a sentence, as HTML: what a place without widgets shows. `note` replaces that of the figure."""
    picture = base64.b64encode(figure.png(FALLBACK_DPI)).decode()
    width = round(110 * figure.figure.get_figwidth())
    alt = html.escape(figure.note if note is None else note, quote=True)
    return (
        f'<p><em>{html.escape(words)}</em></p><img width="{width}" alt="{alt}" '
        f'src="data:image/png;base64,{picture}">'
    )


def class_index(classes: int, content: dict[str, Any], key: str) -> int:
    """A class number out of a message of the page; anything else raises a `MgkitError`."""
    value = content.get(key)
    if type(value) is not int or not 0 <= value < classes:
        raise MgkitError(
            f"the page sent {key} = {value!r}: a class number from 0 to {classes - 1} is expected."
        )
    return value


def one_of(value: str, allowed: Iterable[str], what: str) -> str:
    """`value`, if it is allowed; otherwise a `MgkitError` that lists what is."""
    names = list(allowed)
    if value not in names:
        raise MgkitError(f"there is no {what} {value!r}: use one of {', '.join(names)}.")
    return value


def plain(values: npt.ArrayLike) -> list[float | None]:
    """Numbers as JSON has them: NaN becomes null."""
    return [None if np.isnan(value) else float(value) for value in np.asarray(values, np.float64)]
