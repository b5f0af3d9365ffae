"""The parts that only the error explorer has: the bar of filters above, the tabs over its views, boxes and words.

The error explorer: from a number to the clips behind it, to one clip, to a note about it, in one layout.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.data.clips import Clips
from mgkit.data.splits import TAGS
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.run.review import Change, Notes
from mgkit.views.figures.style import PaperFigure
from mgkit.views.widgets.accuracy.accuracy import ClassAccuracy
from mgkit.views.widgets.confusion.confusion import ConfusionMatrix
from mgkit.views.widgets.explorer.filters import Filters, Sieve
from mgkit.views.widgets.gallery.gallery import Gallery
from mgkit.views.widgets.map.map import PrototypeMap
from mgkit.views.widgets.player.player import ClipPlayer
from mgkit.views.widgets.review.form import ReviewForm
from mgkit.views.widgets.review.list import ReviewList
from mgkit.views.widgets.shared.base import one_of, source, stand_in
from mgkit.views.widgets.shared.selection import Selected, Selection


class FilterBar(anywidget.AnyWidget):
    """Filters as menus and buttons; what a person does with them goes to `act`, and nothing is decided here.

    Args:
        act: called with what the page sends: {"act": "filter", "name", "value"}, {"act": "unpick"} or {"act": "reset"}.
        options: "title", "split", "names" (of classes), "outputs", "subjects", "tags", "both" (whether RGB and pose can
            disagree).
    """

    _esm = source("shared/common.js", "shared/keys.js", "explorer/bar.js")
    _css = source("shared/widgets.css", "explorer/explorer.css")
    options = traitlets.Dict().tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)  # as `Filters`
    # "picked": what was clicked in a view, or null; "count" clips shown of "of"; "narrows": filters are set.
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, act: Callable[[dict[str, Any]], None], **state: Any) -> None:
        self._act = act
        super().__init__(**state)
        self.on_msg(self._heard)

    def _heard(self, _: object, content: Any, __: object) -> None:
        if isinstance(content, dict) and isinstance(content.get("act"), str):
            self._act(content)


class ViewTabs(anywidget.AnyWidget):
    """Tabs; the chosen one is in `chosen`."""

    _esm = source("shared/common.js", "explorer/tabs.js")
    _css = source("shared/widgets.css", "explorer/explorer.css")
    tabs: traitlets.List[Any] = traitlets.List().tag(sync=True)  # [key, name]
    chosen = traitlets.Unicode().tag(sync=True)


def box(name: str, *children: ipywidgets.Widget) -> ipywidgets.Box:
    """A box whose looks are in explorer.css under this name."""
    made = ipywidgets.Box(list(children))
    made.add_class(name)
    return made


def why(text: str) -> ipywidgets.HTML:
    """What stands in the place of a part that there is none of."""
    words = ipywidgets.HTML(html.escape(text))
    words.add_class("mgk-x-why")
    return words


VIEWS = {"matrix": "Confusion", "classes": "Classes", "map": "Map", "notes": "Notes"}
NAME = "ErrorExplorer"
CACHE_MB = 32  # packed clips of the player

Ints = npt.NDArray[np.int64]


class ErrorExplorer(ipywidgets.Box):
    """Filters, a gallery, confusion matrix, class bars, the player with a comparison clip, and review notes, linked.

    What is selected is what is shown: clips that were picked (by outcome and class in the bar above, or by a click in
    the matrix, the bars or the map), as far as they pass the other filters. Selecting from Python drops the filters.
    It begins with the wrong clips, the surest mistakes first. Keys: n and p go to the next and the previous clip, e and
    Shift+e to the next and the previous error, 1 to 4 tag, t writes a note, ? shows all of them.

    Args:
        run: a run.
        split: an evaluated split.
        selection: shared with other views; by default one of its own.
        clips: the clips of the run, where its clip folder has moved. Without any, everything works but pictures, the
            player and the filter by subject, and the explorer says why.
        views: what to have beside the gallery, in this order: "matrix", "classes", "map", "notes" (the list of them),
            or a title and a widget of your own that shares the selection.
        compare: the second clip of the player, see `ClipPlayer`; by default the nearest correct clip.
        height: of the columns, CSS pixels; what does not fit scrolls inside its column.

    Attributes:
        selection, clips, notes: the shared selection, the clips or None, the review notes or None if unreadable.
        bar, gallery, form, player: the parts; `player` is None without clips.

    Raises:
        MgkitError: an unknown split or view.
    """

    def __init__(
        self,
        run: Run,
        split: str = "test",
        *,
        selection: Selection | None = None,
        clips: Clips | None = None,
        views: Iterable[str | tuple[str, ipywidgets.Widget]] = tuple(VIEWS),
        compare: str | None = None,
        height: int = 560,
    ) -> None:
        if not isinstance(selection, Selection | None):
            raise MgkitError(f"selection is a {type(selection).__name__}: pass a Selection, or nothing.")
        self._views: dict[str, ipywidgets.Widget] = {}
        self._titles: dict[str, str] = {}  # of the tabs, by view
        for view in views:
            if isinstance(view, str):
                self._titles[view] = VIEWS[one_of(view, VIEWS, "view")]
            else:
                self._views[view[0]], self._titles[view[0]] = view[1], view[0]
        if not self._titles:
            raise MgkitError(f"there are no views: give some of {', '.join(VIEWS)}.")
        self.run, self.split, self._height = run, split, height
        self.predictions = predictions = run.predictions(split)
        self.clips, self.trouble = _open(run, clips)
        names = run.classes.names
        self._row = {clip_id: i for i, clip_id in enumerate(predictions.clip_ids)}
        self._ids = np.array(predictions.clip_ids, dtype=object)
        self._sieve = Sieve(predictions, names, _subjects(self.clips, predictions.clip_ids))
        self.filters = self._start = Filters(output=predictions.best)
        self._picked: tuple[Ints, str] | None = None  # by a view or from Python, and what it is
        self._given: tuple[
            str, ...
        ] = ()  # what Python selected, in its order, clips of other splits included
        self._shown: tuple[tuple[str, ...], str] = (), ""  # what the explorer selected last
        self._of = 0  # clips, before the filters
        self.selection = Selection() if selection is None else selection
        self._making = True
        self.form = ReviewForm(run, split, selection=self.selection)
        if self.selection.clip_ids:
            self._pick(self.selection.state)
            self._shown = self.selection.clip_ids, self.selection.description
            self._of = len(self.selection)
        else:
            self._apply()
        # The explorer hears of a selection before its views do: what they are told is already filtered.
        self._stop_watching = self.selection.watch(self._told)
        self.bar = FilterBar(
            self._act,
            options={
                "title": run.name, "split": split, "names": list(names), "outputs": predictions.outputs,
                "subjects": self._sieve.subjects, "tags": list(TAGS), "both": self._sieve.differ is not None,
            },
        )  # fmt: skip
        self.gallery = Gallery(run, split, clips=self.clips, selection=self.selection, notes=self.form.shown)
        if self.clips is None:
            self.gallery.trouble = f"No pictures: {self.trouble}"
        self.player, clip = self._make_player(compare)
        self._tabs = ViewTabs(tabs=self._named(len(self.form.shown)), chosen=next(iter(self._titles)))
        self._shown_view = box("mgk-x-scroll")
        self._tabs.observe(lambda _: self._turn(), "chosen")
        self.form.observe(lambda _: self._noted(), "changes")
        columns = box(
            "mgk-x-columns",
            box("mgk-x-views", self._tabs, self._shown_view),
            box("mgk-x-gallery", self.gallery),
            box("mgk-x-clip", self.form, box("mgk-x-scroll", clip)),
        )
        columns.layout.height = f"{int(height)}px"
        super().__init__([self.bar, columns])
        self.add_class("mgk-explorer")
        self._making = False
        self._turn()
        self._tell()

    # --- what a notebook calls --------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"{NAME}({self.run.name}, {self.split}: {self.selection!r})"

    @property
    def clip_id(self) -> str | None:
        """The clip in focus."""
        return self.selection.focus

    @property
    def notes(self) -> Notes | None:
        """The review notes; None where the file cannot be read (the form says why)."""
        return self.form.notes

    @property
    def view(self) -> str:
        """The view that is shown: "matrix", "classes", "map", "notes" or a title; set it to turn to another one."""
        return str(self._tabs.chosen)

    @view.setter
    def view(self, name: str) -> None:
        self._tabs.chosen = one_of(name, self._titles, "view")

    def filter(self, *, cls: str | None = None, **changes: Any) -> None:
        """Set filters from Python, as the bar does.

        Args:
            cls: a class name; "" for any.
            changes: fields of `Filters`: outcome, output, subject, low, high, disagree, notes, sort.

        Raises:
            MgkitError: an unknown filter, class or value.
        """
        if cls is not None:
            changes["label"] = self.run.classes.index(cls) if cls else None
        self._change(changes)

    def reset(self) -> None:
        """All wrong clips, and no filter."""
        self._picked, self.filters = None, self._start
        self._apply()

    def next(self, *, wrong: bool = False) -> None:
        """Go to the next of the shown clips, or of the wrong ones among them."""
        self.gallery.step(1, wrong=wrong)

    def previous(self, *, wrong: bool = False) -> None:
        """Go to the previous of the shown clips, or of the wrong ones among them."""
        self.gallery.step(-1, wrong=wrong)

    def note(self, *tags: str, label: str | None = None, text: str | None = None) -> None:
        """Add tags, the right class or a text to the note of the clip in focus, and save it.

        Raises:
            MgkitError: no clip is in focus, an unknown tag or class. One that cannot be written does not raise: the
                form keeps it and says so.
        """
        if self.clip_id is None:
            raise MgkitError("no clip is in focus: there is nothing to note.")
        for tag in tags:
            one_of(tag, TAGS, "tag")
        if label:
            self.run.classes.index(label)
        note = self.form.shown.get(self.clip_id)
        self.form.change(
            Change(self.clip_id, self.split, tags, (), label, text, note.text if note is not None else "")
        )

    def to_figure(
        self, view: str = "gallery", *, venue: str = "cvpr", columns: int | None = None
    ) -> PaperFigure:
        """What a part shows as a paper figure.

        Args:
            view: "gallery" (a sheet of the clips on its page), "player" (a film strip of the clip in focus), or one of
                the views, e.g. "matrix".
            venue: a key of `mg.figures.VENUES`.
            columns: 1 or 2; by default what suits the figure.
        """
        one_of(view, ["gallery", "player", *VIEWS, *self._views], "view")
        if view == "gallery":
            return self.gallery.to_figure(venue=venue, columns=columns)
        if view == "player":
            if self.player is None:
                raise MgkitError(self.trouble)
            return self.player.to_figure(venue=venue, columns=columns or 2)
        part: Any = self._view(view)
        figure: PaperFigure = part.to_figure(venue=venue, columns=columns)
        return figure

    def close(self) -> None:
        """Take everything off the page, and let go of the selection."""
        if getattr(self, "_making", True):
            return super().close()  # one whose making failed
        self._stop_watching()
        self._shown_view.children = ()  # it may hold a widget that was only lent
        for part in (*self._parts(), *(self._views[name] for name in VIEWS if name in self._views)):
            part.close()
        super().close()

    # --- from clicks to a selection ---------------------------------------------------------------------------------

    def _act(self, content: dict[str, Any]) -> None:
        if content["act"] == "filter":
            self._change({str(content.get("name")): content.get("value")})
        elif content["act"] == "unpick":
            self._picked = None
            self._apply()
        elif content["act"] == "reset":
            self.reset()

    def _change(self, changes: dict[str, Any]) -> None:
        self.filters = self._sieve.checked(self.filters, changes)
        if {"outcome", "label"} & set(changes):
            self._picked = None
        if "sort" in changes:
            self._given = ()
        self._apply()

    def _told(self, state: Selected) -> None:
        """A view, or Python, has selected something."""
        if state.source == NAME or (state.clip_ids, state.description) == self._shown:
            return  # it was the explorer, or only the focus has moved
        if not state.clip_ids and state.description == Selected.description:
            self._picked = None  # cleared: back to what the filters find
        else:
            self._pick(state)
        self._apply()

    def _pick(self, state: Selected) -> None:
        rows = np.array([self._row[clip_id] for clip_id in state.clip_ids if clip_id in self._row], np.int64)
        self._picked = rows, state.description
        self._given = state.clip_ids if state.source == "python" else ()
        if self._given:
            self.filters = self.filters.wide()

    def _apply(self) -> None:
        """Select what was picked and passes the filters."""
        picked, what = self._picked or (self._sieve.picked(self.filters), self._sieve.what(self.filters))
        rows = self._sieve.passing(picked, self.filters, self.form.shown)
        given = self._given if self._picked is not None else ()
        if not given:
            rows = self._sieve.ordered(rows, self.filters)
        conditions = self._sieve.conditions(self.filters)
        ids = given if given and not conditions else tuple(self._ids[rows].tolist())
        self._of = len(picked)
        description = f"{what}, {conditions}" if conditions else what
        self._shown = ids, description
        focus = self.selection.focus if self.selection.focus in ids else (ids[0] if ids else None)
        self._tell(look=True)
        self.selection.set(ids, focus=focus, description=description, source=NAME)

    def _tell(self, *, look: bool = False) -> None:
        """Tell the bar, the matrix and the gallery how the filters stand."""
        if self._making:
            return
        matrix = self._views.get("matrix")
        if isinstance(matrix, ConfusionMatrix):
            matrix.output = self.filters.output
        self.bar.filters = asdict(self.filters)
        self.bar.state = {
            "picked": self._picked[1] if self._picked is not None else None,
            "count": len(self._shown[0]), "of": self._of, "narrows": self.filters.narrows,
        }  # fmt: skip
        label = self.filters.label if self._picked is None else None
        if look and (self.gallery.output, self.gallery.label) != (self.filters.output, label):
            self.gallery.look(output=self.filters.output, label=label)

    def _noted(self) -> None:
        self.gallery.notes = notes = self.form.shown
        self.gallery.refresh()
        listed = self._views.get("notes")
        if isinstance(listed, ReviewList):
            listed.show(notes)
        self._tabs.tabs = self._named(len(notes))

    # --- parts ------------------------------------------------------------------------------------------------------

    def _make_player(self, compare: str | None) -> tuple[ClipPlayer | None, ipywidgets.Widget]:
        if self.clips is None:
            return None, why(f"No player: {self.trouble}")
        if compare is None:
            embedded = (self.run.root / "splits" / self.split / "embeddings.npz").is_file()
            compare = "nearest_correct" if embedded else ""
        try:
            player = ClipPlayer(
                self.run, split=self.split, clips=self.clips, selection=self.selection, compare=compare,
                cache_mb=CACHE_MB, heatmap="off",
            )  # fmt: skip
        except MgkitError as error:
            self.trouble = str(error)
            return None, why(f"No player: {error}")
        return player, player

    def _named(self, notes: int) -> list[list[str]]:
        """The tabs; that of the notes says how many there are."""
        return [
            [key, f"{title} ({notes:,})" if key == "notes" and notes else title]
            for key, title in self._titles.items()
        ]

    def _turn(self) -> None:
        """Show the chosen view; each is made when it is looked at first."""
        if self.view == "map" and "map" not in self._views:
            self._shown_view.children = [
                why("Laying out the map: up to a minute the first time, then it is kept.")
            ]
        self._shown_view.children = [self._view(self.view)]

    def _view(self, name: str) -> ipywidgets.Widget:
        if name not in self._views:
            make: dict[str, Callable[[], ipywidgets.Widget]] = {
                "matrix": lambda: ConfusionMatrix(
                    self.run, self.split, self.filters.output, selection=self.selection
                ),
                "classes": lambda: ClassAccuracy(self.run, self.split, selection=self.selection),
                "map": lambda: PrototypeMap(
                    self.run, self.split, selection=self.selection, height=self._height - 150
                ),
                "notes": lambda: ReviewList(
                    self.run, self.split, selection=self.selection, notes=self.form.shown
                ),
            }
            try:
                self._views[name] = make[name]()
            except MgkitError as error:
                self._views[name] = why(str(error))
        return self._views[name]

    def _parts(self) -> list[ipywidgets.Widget]:
        """Every widget of the layout but this one, the innermost last."""
        found: list[ipywidgets.Widget] = []
        waiting: list[ipywidgets.Widget] = list(self.children)
        while waiting:
            part = waiting.pop()
            found.append(part)
            waiting += list(getattr(part, "children", ()))
        return found

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The explorer, and for places without widgets a sheet of its clips and a line that says so."""
        bundle: Any = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is None:
            return bundle
        data["text/plain"] = repr(self)
        try:
            figure = self.to_figure("gallery")
        except MgkitError:
            figure = self.to_figure("matrix")
        data["text/html"] = stand_in(
            figure,
            f"A picture of {NAME} ({figure.note}): here is no kernel with widgets to click in. Run the cell in "
            "JupyterLab, VS Code or Colab.",
        )
        return bundle


def _open(run: Run, clips: Clips | None) -> tuple[Clips | None, str]:
    """The clips of a run, or None and why."""
    if clips is not None:
        return clips, ""
    try:
        return run.clips(), ""
    except MgkitError as error:
        return None, str(error)


def _subjects(clips: Clips | None, ids: list[str]) -> npt.NDArray[Any] | None:
    if clips is None:
        return None
    known = dict(zip(clips.ids, clips.table["subject"], strict=True))
    return np.array([known.get(clip_id, "") for clip_id in ids], dtype=object)
