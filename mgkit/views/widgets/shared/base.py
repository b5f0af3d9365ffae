"""The base of the widgets of a run: linked by a `Selection`, with a paper figure and a static preview."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable
from typing import Any

import anywidget
import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.errors import MgkitError
from mgkit.notebook import JUPYTER, place
from mgkit.results.run.folder import Run
from mgkit.results.run.records import Predictions
from mgkit.views.figures.style import PaperFigure
from mgkit.views.widgets.shared.bundle import styles
from mgkit.views.widgets.shared.selection import Selected, Selection

PREVIEW_DPI = 130  # sharp enough to read, small in a saved notebook
WIDGET = "application/vnd.jupyter.widget-view+json"
# In JupyterLab and Notebook the static preview is an output of its own, before that of the widget. One of the two is
# shown: the widget as soon as it has something in it, the preview as long as the other is only text, which it is
# without a kernel ("Error displaying widget: model not found"), or a script that finds no widget, as in a page that
# nbconvert made.
_EITHER = """<style>
.jp-OutputArea-child:has(.mgk-static):has(+ .jp-OutputArea-child > .jp-OutputArea-output > :not(script)),
.jp-OutputArea-child:has(.mgk-static) + .jp-OutputArea-child:not(:has(> .jp-OutputArea-output > :not(script))) {
  display: none;
}
</style>"""


def static_preview(name: str, shown: PaperFigure | str | None, about: str = "") -> str:
    """A sentence and a picture as HTML, for places without live widgets: GitHub, a PDF, no kernel.

    Args:
        name: of the widget.
        shown: its figure, HTML in place of one, or None where there is nothing to show yet.
        about: what the picture shows, or why there is none.
    """
    what = "Static preview" if shown is not None else "No static preview"
    note = f" ({about.rstrip('.')})" if about else ""
    line = f"{what} of {name}{note}. Run the cell in JupyterLab, VS Code or Colab for the interactive widget."
    sentence = f"<p><em>{html.escape(line)}</em></p>"
    if not isinstance(shown, PaperFigure):
        return sentence + (shown or "")
    picture = base64.b64encode(shown.png(PREVIEW_DPI)).decode()
    width, alt = round(110 * shown.figure.get_figwidth()), html.escape(about or shown.note, quote=True)
    return f'{sentence}<img width="{width}" alt="{alt}" src="data:image/png;base64,{picture}">'


class Previewed:
    """Mixin of a widget: a saved notebook shows a static preview in place of it. Subclasses have `to_figure`."""

    def _preview(self) -> tuple[PaperFigure | str, str]:
        """The figure (or HTML) to show, and what it shows, "" for the figure's own note."""
        return self.to_figure(), ""  # type: ignore[attr-defined]

    def _ipython_display_(self, **options: Any) -> None:
        """Publish the widget, with its preview for places without a kernel."""
        from IPython.display import publish_display_data

        bundle = self._repr_mimebundle_(**options)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        if place() != JUPYTER or WIDGET not in data:  # other places choose between the kinds of one output
            publish_display_data(data, metadata)
            return
        preview = f'{_EITHER}<div class="mgk-static">{data["text/html"]}</div>'
        publish_display_data({"text/plain": data["text/plain"], "text/html": preview})
        publish_display_data({WIDGET: data[WIDGET]}, metadata)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)  # type: ignore[misc]
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            name = type(self).__name__
            data["text/plain"] = repr(self)
            try:
                data["text/html"] = static_preview(name, *self._preview())
            except MgkitError as error:  # if nothing is selected, say: the widget itself still works
                data["text/html"] = static_preview(name, None, str(error))
        return bundle


class RunWidget(Previewed, anywidget.AnyWidget):
    """A view of a run's predictions on one split. Subclasses draw `selected`, handle `_act`, and have `to_figure`.

    Args:
        run: a run.
        predictions: the predictions it shows.
        split: the split they are of, for people.
        selection: shared with other views; by default a new one.

    Attributes:
        selection: shared by every view it was given to.
    """

    _css = styles()
    # What the page knows of the selection: "description", "count" clips of which "here" are in this split, and what
    # a subclass adds in `_marks`.
    selected = traitlets.Dict().tag(sync=True)
    split = traitlets.Unicode().tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)  # of the run
    classes = traitlets.Dict().tag(sync=True)  # "names", "groups" or null
    outputs: traitlets.List[Any] = traitlets.List().tag(sync=True)
    _stop_watching: Callable[[], None] | None = None  # a widget that could not be made watches nothing

    def __init__(
        self, run: Run, predictions: Predictions, split: str, selection: Selection | None, **state: Any
    ) -> None:
        self.run, self.predictions = run, predictions
        self.selection = Selection() if selection is None else selection
        self._row = {clip_id: i for i, clip_id in enumerate(predictions.clip_ids)}
        self._ids = np.array(predictions.clip_ids, dtype=object)
        groups = run.classes.groups
        classes = {"names": list(run.classes.names), "groups": None if groups is None else list(groups)}
        state = {"outputs": predictions.outputs, "classes": classes} | state
        super().__init__(split=split, name=run.name, **state)
        self._stop_watching = self.selection.watch(self._show)
        self.on_msg(self._received)
        self._show(self.selection.state)

    def close(self) -> None:
        """Take the widget off the page, and stop listening to the selection."""
        if self._stop_watching is not None:
            self._stop_watching()
        super().close()

    # -----------------------------------------------------------------------------------------------------------------
    # For subclasses

    def _marks(self, rows: npt.NDArray[np.int64], focus: int | None) -> dict[str, Any]:
        """The marks for the selected rows of the predictions, in any order, and the row in focus."""
        raise NotImplementedError

    def _act(self, act: str, content: dict[str, Any]) -> None:
        """Handle an action in the page."""
        raise NotImplementedError

    def _select(self, rows: Iterable[int], description: str, *, add: bool = False) -> None:
        """Select these rows of the predictions; with `add`, in addition to what is selected."""
        ids = self._ids[np.asarray(rows, np.int64)].tolist()
        before = self.selection.state
        focus = before.focus if add or before.focus in ids else None
        if add and before.clip_ids:
            ids = list(dict.fromkeys((*before.clip_ids, *ids)))
            if len(ids) == len(before.clip_ids):
                return  # all are selected already
            description = f"{before.description} + {description}"
        self.selection.set(ids, focus=focus, description=description, source=type(self).__name__)

    # -----------------------------------------------------------------------------------------------------------------

    @traitlets.validate("output")
    def _known_output(self, proposal: Any) -> str:
        return one_of(proposal["value"], self.outputs, "output") if self.outputs else proposal["value"]

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

    def _received(self, _: object, content: Any, __: object) -> None:
        act = content.get("act") if isinstance(content, dict) else None
        if not isinstance(act, str):
            return  # a message of anywidget itself
        if act == "clear":
            self.selection.clear(source=type(self).__name__)
        else:
            self._act(act, content)


def class_index(classes: int, content: dict[str, Any], key: str) -> int:
    """The class number in a message of the page; anything else raises a `MgkitError`."""
    value = content.get(key)
    if type(value) is not int or not 0 <= value < classes:
        raise MgkitError(
            f"the page sent {key} = {value!r}: a class number from 0 to {classes - 1} is expected."
        )
    return value


def one_of(value: str, allowed: Iterable[str], what: str) -> str:
    """`value` if it is allowed; otherwise a `MgkitError` that lists the allowed ones."""
    names = list(allowed)
    if value not in names:
        raise MgkitError(f"unknown {what} {value!r}: use one of {', '.join(names)}.")
    return value


def plain(values: npt.ArrayLike) -> list[float | None]:
    """Numbers as JSON has them: NaN becomes null."""
    return [None if np.isnan(value) else float(value) for value in np.asarray(values, np.float64)]
