"""The error explorer: from a number to the clips behind it, to one clip, to a note about it, in one layout."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.data.clips import Clips
from mgkit.data.splits import TAGS
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.review import Change, Notes
from mgkit.views.figures.style import PaperFigure
from mgkit.views.widgets.accuracy import ClassAccuracy
from mgkit.views.widgets.confusion import ConfusionMatrix
from mgkit.views.widgets.explorer.filters import Filters, Sieve
from mgkit.views.widgets.gallery import Gallery
from mgkit.views.widgets.map import PrototypeMap
from mgkit.views.widgets.player import ClipPlayer
from mgkit.views.widgets.review import ReviewForm, ReviewList
from mgkit.views.widgets.shared.base import Previewed, one_of
from mgkit.views.widgets.shared.bundle import script, styles
from mgkit.views.widgets.shared.selection import Selected, Selection

VIEWS = {"matrix": "Confusion", "classes": "Classes", "map": "Map", "notes": "Notes"}
NAME = "ErrorExplorer"
CACHE_MB = 32  # packed clips of the player

Ints = npt.NDArray[np.int64]


class FilterBar(anywidget.AnyWidget):
    """Filters as menus and buttons. It decides nothing: every action goes to `act`.

    Args:
        act: called with the page's messages: {"act": "filter", "name", "value"}, {"act": "unpick"} or {"act": "reset"}.
        options: "title", "split", "names" (of classes), "outputs", "subjects", "tags", "both" (whether there is
            RGB and pose).
    """

    _esm = script("explorer/bar.js")
    _css = styles("explorer/explorer.css")
    options = traitlets.Dict().tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)  # as `Filters`
    # "picked": what was clicked in a view, or null; "count" clips shown of "of"; "narrows": filters are set.
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, act: Callable[[dict[str, Any]], None], **state: Any) -> None:
        self._act = act
        super().__init__(**state)
        self.on_msg(self._received)

    def _received(self, _: object, content: Any, __: object) -> None:
        if isinstance(content, dict) and isinstance(content.get("act"), str):
            self._act(content)


class ViewTabs(anywidget.AnyWidget):
    """Tabs; the chosen one is in `chosen`."""

    _esm = script("explorer/tabs.js")
    _css = styles("explorer/explorer.css")
    tabs: traitlets.List[Any] = traitlets.List().tag(sync=True)  # [key, name]
    chosen = traitlets.Unicode().tag(sync=True)


def box(name: str, *children: ipywidgets.Widget) -> ipywidgets.Box:
    """A box styled by this name in explorer.css."""
    made = ipywidgets.Box(list(children))
    made.add_class(name)
    return made


def why(text: str) -> ipywidgets.HTML:
    """A sentence in place of a part that cannot be shown."""
    words = ipywidgets.HTML(html.escape(text))
    words.add_class("mgk-x-why")
    return words


class ErrorExplorer(Previewed, ipywidgets.Box):
    """Filters, a gallery, confusion matrix, class bars, the player with a comparison clip, and review notes, linked.

    The explorer shows the clips that are picked (by outcome and class in the bar above, or by a click in the matrix,
    the bars or the map) and pass the other filters; these are the selection. Selecting from Python drops the filters.
    It starts with the wrong clips, the most confident mistakes first. Keys: n and p go to the next and the previous
    clip, e and Shift+e to the next and the previous error, 1 to 4 tag, t writes a comment, ? lists all keys.

    Args:
        run: a run.
        split: an evaluated split.
        selection: shared with other views; by default a new one.
        clips: the clips of the run, if its clip folder has moved. Without clips everything works except pictures, the
            player and the filter by subject, and the explorer shows why.
        views: the tabs next to the gallery, in this order: "matrix", "classes", "map", "notes", or a title and a widget
            of your own that shares the selection.
        compare: the second clip of the player, see `ClipPlayer`; by default the nearest correct clip.
        height: of the columns in CSS pixels; each column scrolls.
        blur_faces: blur heads in the gallery and the player (docs/faces.md); by default as `mg.set_up_notebook` was
            told, else not.

    Attributes:
        selection, clips, notes: the shared selection, the clips or None, the review notes or None if unreadable.
        bar, gallery, form, player: the parts; `player` is None without clips.

    Raises:
        MgkitError: an unknown split or view.
    """

    def __init__(
        self,
        run: Run | str | Path,
        split: str = "test",
        *,
        selection: Selection | None = None,
        clips: Clips | None = None,
        views: Iterable[str | tuple[str, ipywidgets.Widget]] = tuple(VIEWS),
        compare: str | None = None,
        height: int = 560,
        blur_faces: bool | None = None,
    ) -> None:
        self._views: dict[str, ipywidgets.Widget] = {}
        self._titles: dict[str, str] = {}  # of the tabs, by view
        for view in views:
            if isinstance(view, str):
                self._titles[view] = VIEWS[one_of(view, VIEWS, "view")]
            else:
                self._views[view[0]], self._titles[view[0]] = view[1], view[0]
        if not self._titles:
            raise MgkitError(f"no views: give some of {', '.join(VIEWS)}.")
        run = as_run(run)
        self.run, self.split, self._height = run, split, height
        self.predictions = predictions = run.predictions(split)
        self.clips, self.trouble = _open(run, clips)
        names = run.classes.names
        self._row = {clip_id: i for i, clip_id in enumerate(predictions.clip_ids)}
        self._ids = np.array(predictions.clip_ids, dtype=object)
        self._sieve = Sieve(predictions, names, _subjects(self.clips, predictions.clip_ids))
        self.filters = self._start = Filters(output=predictions.best)
        self._picked: tuple[Ints, str] | None = (
            None  # rows picked in a view or from Python, and their description
        )
        self._given: tuple[str, ...] = ()  # clips selected from Python, in order, with those of other splits
        self._shown: tuple[tuple[str, ...], str] = (), ""  # the explorer's own last selection
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
        # The explorer watches the selection before its views do, so they are only ever shown what passes the filters.
        self._stop_watching = self.selection.watch(self._on_selection)
        self.bar = FilterBar(
            self._act,
            options={
                "title": run.name, "split": split, "names": list(names), "outputs": predictions.outputs,
                "subjects": self._sieve.subjects, "tags": list(TAGS), "both": bool(self._sieve.by_pathways),
            },
        )  # fmt: skip
        self.gallery = Gallery(
            run,
            split,
            clips=self.clips,
            selection=self.selection,
            notes=self.form.shown,
            blur_faces=blur_faces,
        )
        if self.clips is None:
            self.gallery.trouble = f"No pictures: {self.trouble}"
        self.player, clip = self._make_player(compare, blur_faces)
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
        self._update_parts()

    # --- what a notebook calls --------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"{NAME}({self.run.name}, {self.split}: {self.selection!r})"

    @property
    def clip_id(self) -> str | None:
        """The clip in focus."""
        return self.selection.focus

    @property
    def notes(self) -> Notes | None:
        """The review notes; None if the file cannot be read (the form shows why)."""
        return self.form.notes

    @property
    def view(self) -> str:
        """The current view: "matrix", "classes", "map", "notes" or a title; set it to change the view."""
        return str(self._tabs.chosen)

    @view.setter
    def view(self, name: str) -> None:
        self._tabs.chosen = one_of(name, self._titles, "view")

    def filter(self, *, cls: str | None = None, **changes: Any) -> None:
        """Set filters as the bar does.

        Args:
            cls: a class name; "" for any.
            changes: fields of `Filters`: outcome, output, subject, low, high, pathways, notes, sort.

        Raises:
            MgkitError: an unknown filter, class or value.
        """
        if cls is not None:
            changes["label"] = self.run.classes.index(cls) if cls else None
        self._change(changes)

    def reset(self) -> None:
        """Show all wrong clips, without filters."""
        self._picked, self.filters = None, self._start
        self._apply()

    def next(self, *, wrong: bool = False) -> None:
        """Go to the next of the shown clips, or to the next wrong one."""
        self.gallery.step(1, wrong=wrong)

    def previous(self, *, wrong: bool = False) -> None:
        """Go to the previous of the shown clips, or to the previous wrong one."""
        self.gallery.step(-1, wrong=wrong)

    def note(self, *tags: str, label: str | None = None, text: str | None = None) -> None:
        """Add tags, the correct class or a comment to the note of the clip in focus, and save it.

        Raises:
            MgkitError: no clip is in focus, an unknown tag or class. A note that cannot be written does not raise: the
                form keeps it and shows why.
        """
        if self.clip_id is None:
            raise MgkitError("no clip is in focus: choose one first.")
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
        """A part as a paper figure.

        Args:
            view: "gallery" (a sheet of the clips on its page), "player" (a film strip of the clip in focus), or a view,
                e.g. "matrix".
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
        """Take everything off the page, and stop listening to the selection."""
        if getattr(self, "_making", True):
            return super().close()  # it could not be made
        self._stop_watching()
        self._shown_view.children = ()  # it may hold a widget of the user
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

    def _on_selection(self, state: Selected) -> None:
        """React to a selection of a view or from Python."""
        if state.source == NAME or (state.clip_ids, state.description) == self._shown:
            return  # the explorer's own, or only the focus has moved
        if not state.clip_ids and state.description == Selected.description:
            self._picked = None  # cleared: back to the filters
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
        """Select the picked clips that pass the filters."""
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
        self._update_parts(look=True)
        self.selection.set(ids, focus=focus, description=description, source=NAME)

    def _update_parts(self, *, look: bool = False) -> None:
        """Show the filters in the bar, the matrix and the gallery."""
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

    def _make_player(
        self, compare: str | None, blur_faces: bool | None
    ) -> tuple[ClipPlayer | None, ipywidgets.Widget]:
        if self.clips is None:
            return None, why(f"No player: {self.trouble}")
        if compare is None:
            embedded = (self.run.root / "splits" / self.split / "embeddings.npz").is_file()
            compare = "nearest_correct" if embedded else ""
        try:
            player = ClipPlayer(
                self.run, split=self.split, clips=self.clips, selection=self.selection, compare=compare,
                cache_mb=CACHE_MB, heatmap="off", blur_faces=blur_faces,
            )  # fmt: skip
        except MgkitError as error:
            self.trouble = str(error)
            return None, why(f"No player: {error}")
        return player, player

    def _named(self, notes: int) -> list[list[str]]:
        """Key and title of the tabs, with the number of notes."""
        return [
            [key, f"{title} ({notes:,})" if key == "notes" and notes else title]
            for key, title in self._titles.items()
        ]

    def _turn(self) -> None:
        """Show the chosen view; each is made when it is first shown."""
        if self.view == "map" and "map" not in self._views:
            self._shown_view.children = [
                why("Computing the map: up to a minute the first time; then it is kept.")
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
        """Every widget of the layout except this one, the innermost last."""
        found: list[ipywidgets.Widget] = []
        waiting: list[ipywidgets.Widget] = list(self.children)
        while waiting:
            part = waiting.pop()
            found.append(part)
            waiting += list(getattr(part, "children", ()))
        return found

    def _preview(self) -> tuple[PaperFigure, str]:
        """The sheet of clips, or without pictures the confusion matrix."""
        try:
            figure = self.to_figure("gallery")
        except MgkitError:
            figure = self.to_figure("matrix")
        return figure, figure.note


def _open(run: Run, clips: Clips | None) -> tuple[Clips | None, str]:
    """The clips of a run, or None and the reason."""
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
