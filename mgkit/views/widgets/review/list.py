"""A clickable list of review notes, the latest first, with a CSV to download."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.data.splits import TAGS
from mgkit.errors import MgkitError, counted
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.review import Note, Notes, as_csv
from mgkit.views.figures.style import PaperFigure
from mgkit.views.widgets.shared.base import RunWidget
from mgkit.views.widgets.shared.bundle import script, styles
from mgkit.views.widgets.shared.selection import Selection

LISTED = 200  # clips in the page at most; the file holds all


class ReviewList(RunWidget):
    """The review notes of a run as a list. A click selects the clips with notes and puts that one in focus.

    Args:
        run: a run.
        split: the split whose clips can be shown; notes on other splits are listed as well.
        selection: shared with other views; by default a new one.
        notes: the notes, by clip id, if another widget keeps them (`show`); by default those in the file, which is
            read again when the selection changes, or by `refresh`.
    """

    _esm = script("review/list.js")
    _css = styles("review/review.css")
    # "rows" of "count" clips with notes, "tags" with their counts, "file", "trouble": why there are none.
    listed = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        run: Run | str | Path,
        split: str = "test",
        *,
        selection: Selection | None = None,
        notes: Mapping[str, Note] | None = None,
    ) -> None:
        self._given = notes
        self._file: Notes | None = None
        run = as_run(run)
        predictions = run.predictions(split)
        self._predicted = predictions.predicted(predictions.best)
        super().__init__(run, predictions, split, selection)

    @property
    def notes(self) -> Mapping[str, Note]:
        """The listed notes, by clip id.

        Raises:
            MgkitError: the file cannot be read.
        """
        if self._given is not None:
            return self._given
        if self._file is None:
            self._file = self.run.notes()
        else:
            self._file.refresh()
        return self._file

    def show(self, notes: Mapping[str, Note]) -> None:
        """List these notes."""
        self._given = notes
        self.refresh()

    def refresh(self) -> None:
        """List the current notes."""
        self._show(self.selection.state)

    def to_figure(self, *, venue: str = "cvpr", columns: int | None = None) -> PaperFigure:
        """Raise a `MgkitError`: notes are a table, not a figure."""
        raise MgkitError("review notes are not a figure: run.notes().save(path) writes them as CSV.")

    # -----------------------------------------------------------------------------------------------------------------

    def _latest(self) -> list[Note]:
        return sorted(self.notes.values(), key=lambda note: (note.updated, note.clip_id), reverse=True)

    def _marks(self, rows: npt.NDArray[np.int64], focus: int | None) -> dict[str, Any]:
        try:
            notes, trouble = self._latest(), ""
        except MgkitError as error:
            notes, trouble = [], str(error)
        self.listed = {
            "rows": [self._item(note) for note in notes[:LISTED]],
            "count": len(notes),
            "tags": [[tag, count] for tag in TAGS if (count := sum(tag in note.tags for note in notes))],
            "file": (self.run.root / "review.csv").as_posix(),
            "trouble": trouble,
        }
        return {}

    def _item(self, note: Note) -> dict[str, Any]:
        row, names = self._row.get(note.clip_id), self.run.classes.names
        item: dict[str, Any] = {
            "id": note.clip_id, "split": note.split, "tags": list(note.tags), "label": note.label, "text": note.text,
            "here": row is not None,
        }  # fmt: skip
        if row is not None:
            item |= {"true": names[self.predictions.labels[row]], "predicted": names[self._predicted[row]]}
        return item

    def _act(self, act: str, content: dict[str, Any]) -> None:
        if act == "show":
            clip_id = content.get("clip_id")
            ids = [note.clip_id for note in self._latest() if note.clip_id in self._row]
            if clip_id in ids:
                self.selection.set(
                    ids, focus=clip_id, description="clips with notes", source=type(self).__name__
                )
        elif act == "csv":
            try:
                text = as_csv(self.notes.values())
            except MgkitError:
                self.refresh()  # shows why there are none
            else:
                self.send({"csv": text, "name": f"review_{self.run.name}.csv"})

    def __repr__(self) -> str:
        return f"ReviewList({counted(self.listed['count'], 'clip')} with notes in {self.listed['file']})"

    def _preview(self) -> tuple[str, str]:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in values) + "</tr>"
            for values in (
                (row["id"], row["split"], ", ".join(row["tags"]), row["label"], row["text"])
                for row in self.listed["rows"]
            )
        )
        return (
            f"<table>{rows}</table>",
            f"{counted(self.listed['count'], 'clip')} with notes in {self.listed['file']}",
        )
