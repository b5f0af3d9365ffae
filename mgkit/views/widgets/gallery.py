"""The selected clips as a page of small pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.results.review import Note
from mgkit.results.runs import Run
from mgkit.views.figures.sheets import clip_sheet
from mgkit.views.figures.style import PaperFigure
from mgkit.views.widgets.base import RunWidget, one_of, source
from mgkit.views.widgets.frames import PackCache
from mgkit.views.widgets.selection import Selection
from mgkit.views.widgets.thumbs import thumbnail

AT_ONCE = 4  # pictures an answer: other clicks are answered between two
CACHED = 8 << 20  # bytes of pictures

Ints = npt.NDArray[np.int64]


class Gallery(RunWidget):
    """The selected clips, each with its middle frame and skeleton, its true class and what it was taken for.

    Pictures are made when their page is looked at, a few at a time. The border tells the outcome: right or wrong, or
    TP, FN or FP where a `label` is given. A click or an arrow key moves the focus of the selection; n and p go to the
    next and the previous clip, e and Shift+e to the next and the previous one that is wrong.

    Args:
        run: a run.
        split: an evaluated split.
        clips: where the pictures are; by default the clips of the run. None of them is needed: without, the gallery
            says why there are no pictures.
        selection: shared with other views; by default one of its own.
        output: the output that decides what is wrong; by default fused, or the only one.
        notes: review notes to mark, by clip id.
        page_size: clips a page.

    Raises:
        MgkitError: an unknown split or output.
    """

    _esm = source("common.js", "keys.js", "gallery.js")
    _css = source("widgets.css", "gallery.css")
    output = traitlets.Unicode().tag(sync=True)
    outputs: traitlets.List[Any] = traitlets.List().tag(sync=True)
    trouble = traitlets.Unicode().tag(sync=True)  # why there are no pictures

    def __init__(
        self,
        run: Run,
        split: str = "test",
        *,
        clips: Clips | None = None,
        selection: Selection | None = None,
        output: str | None = None,
        notes: Mapping[str, Note] | None = None,
        page_size: int = 24,
    ) -> None:
        predictions = run.predictions(split)
        if page_size < 1:
            raise MgkitError(f"page_size is {page_size}: a page has at least one clip.")
        trouble = ""
        if clips is None:
            try:
                clips = run.clips()
            except MgkitError as error:
                trouble = f"No pictures: {error}"
        self.clips, self.page_size, self.notes = clips, page_size, notes or {}
        self.label: int | None = None  # the class whose TP, FN and FP are told apart
        self._said = {name: predictions.predicted(name) for name in predictions.outputs}
        self._cache = PackCache(CACHED)
        self._page: int | None = None  # another one than that of the focus
        super().__init__(
            run,
            predictions,
            split,
            selection,
            output=one_of(output or predictions.best, predictions.outputs, "output"),
            outputs=predictions.outputs,
            trouble=trouble,
        )

    @property
    def shown(self) -> list[str]:
        """The clips on the page that is shown."""
        return [item["id"] for item in self.selected["items"]]

    def look(self, *, output: str | None = None, label: int | None = None) -> None:
        """Tell outcomes by this output, and as TP, FN and FP of this class (None: as right and wrong)."""
        self.output = one_of(output or self.output, self.outputs, "output")
        self.label = label
        self.refresh()

    def refresh(self) -> None:
        """Show what the notes say now."""
        self._show(self.selection.state)

    def step(self, by: int, *, wrong: bool = False) -> None:
        """Move the focus on by so many of the selected clips, round at the end; with `wrong` over wrong ones only."""
        here = [clip_id for clip_id in self.selection.clip_ids if clip_id in self._row]
        if not here:
            return
        at = here.index(self.selection.focus) if self.selection.focus in here else (-1 if by > 0 else 0)
        said, true = self._said[self.output], self.predictions.labels
        for distance in range(1, len(here) + 1):
            clip_id = here[(at + (distance if by > 0 else -distance) * (1 if wrong else abs(by))) % len(here)]
            row = self._row[clip_id]
            if not wrong or said[row] != true[row]:
                self.selection.focus_on(clip_id, source="Gallery")
                return

    def to_figure(
        self, *, venue: str = "cvpr", columns: int | None = None, limit: int | None = None
    ) -> PaperFigure:
        """A sheet of the clips on the page, or of the first `limit` selected ones, with borders as here.

        Raises:
            MgkitError: there are no pictures, or no clip is selected.
        """
        if self.clips is None:
            raise MgkitError(self.trouble)
        rows = self._selected_rows()
        first = 0 if limit is not None else self.selected["page"] * self.page_size
        items = self._items(rows[first : first + (limit or self.page_size)])
        if not items:
            raise MgkitError(f"{self.selection.description}: no clip to draw.")
        words = [item["true"] if item["right"] else f"{item['true']} → {item['said']}" for item in items]
        return clip_sheet(
            self.clips, [item["id"] for item in items], words, [item["kind"] for item in items],
            note=f"{self.selection.description}, {len(items)} of {len(rows)} clips", venue=venue, columns=columns or 2,
        )  # fmt: skip

    # -----------------------------------------------------------------------------------------------------------------

    def _selected_rows(self) -> Ints:
        row = self._row
        return np.array([row[clip_id] for clip_id in self.selection.clip_ids if clip_id in row], np.int64)

    def _marks(self, rows: Ints, focus: int | None) -> dict[str, Any]:
        pages = max(1, -(-len(rows) // self.page_size))
        at = np.flatnonzero(rows == (-1 if focus is None else focus))
        page = int(at[0]) // self.page_size if len(at) else 0
        if self._page is not None:
            page = min(self._page, pages - 1)
        shown = rows[page * self.page_size : (page + 1) * self.page_size]
        return {
            "items": self._items(shown),
            "page": page,
            "pages": pages,
            "first": page * self.page_size,
            "position": int(at[0]) if len(at) else None,
        }

    def _items(self, rows: Ints) -> list[dict[str, Any]]:
        names, scores, items = self.run.classes.names, self.predictions.scores(self.output), []
        for row in rows.tolist():
            true, said = int(self.predictions.labels[row]), int(self._said[self.output][row])
            clip_id = self.predictions.clip_ids[row]
            note = self.notes.get(clip_id)
            items.append(
                {
                    "id": clip_id, "true": names[true], "said": names[said], "right": true == said,
                    "sure": float(scores[row, said]), "kind": self._kind(true, said),
                    "tags": list(note.tags) if note is not None else [],
                    "noted": note is not None,
                }
            )  # fmt: skip
        return items

    def _kind(self, true: int, said: int) -> str:
        if self.label is None or self.label not in (true, said):
            return "right" if true == said else "wrong"
        return "TP" if true == said else "FN" if true == self.label else "FP"

    def _act(self, act: str, content: dict[str, Any]) -> None:
        if act == "focus":
            clip_id = content.get("clip_id")
            if clip_id in self.selection.clip_ids:
                self._page = None
                self.selection.focus_on(clip_id, source="Gallery")
        elif act == "step":
            by = content.get("by")
            if type(by) is int and by:
                self._page = None
                self.step(by, wrong=content.get("wrong") is True)
        elif act == "page":
            page = content.get("page")
            if type(page) is int and 0 <= page < self.selected["pages"]:
                self._page = page
                self.refresh()
        elif act == "thumbs":
            asked = content.get("ids")
            self._send_pictures([i for i in asked if isinstance(i, str)] if isinstance(asked, list) else [])

    def _show(self, state: Any) -> None:
        # Another selection, or a focus that somebody else has moved, is looked at from its own page.
        key = (state.clip_ids, state.focus)
        if key != getattr(self, "_told", None):
            self._told, self._page = key, None
        super()._show(state)

    def _send_pictures(self, clip_ids: list[str]) -> None:
        told: list[dict[str, Any]] = []
        buffers: list[bytes] = []
        for clip_id in clip_ids[:AT_ONCE]:
            try:
                if self.clips is None:
                    raise MgkitError(self.trouble)
                made = self._cache.get(clip_id, lambda i=clip_id: thumbnail(self.clips, i))  # type: ignore[misc]
            except MgkitError as error:
                told.append({"clip_id": clip_id, "problem": str(error), "buffer": None})
                continue
            told.append({**made.meta, "buffer": len(buffers)})
            buffers.append(made.data)
        self.send({"thumbs": told}, buffers)
