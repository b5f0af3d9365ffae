"""A form for review notes: tags, the correct class and a comment, saved with the run at every change."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from mgkit.data.splits import TAGS
from mgkit.errors import MgkitError, some
from mgkit.results.run.folder import Run, as_run
from mgkit.results.run.review import Change, Note, Notes
from mgkit.views.widgets.shared.base import RunWidget
from mgkit.views.widgets.shared.bundle import script, styles
from mgkit.views.widgets.shared.selection import Selection


class ReviewForm(RunWidget):
    """The note of the clip in focus, written to `review.csv` of the run as soon as it changes.

    Keys 1 to 4 set and unset the tags, t goes to the comment. A change that cannot be saved is reported, kept, and
    saved together with the next one, or by the button that then appears.

    Args:
        run: a run.
        split: the split whose clips are reviewed.
        selection: shared with other views; by default a new one.

    Attributes:
        notes: the notes in the file, see `mgkit.results.run.review`.
        changes: number of changes made here or found in the file; observe it to react to them.
    """

    _esm = script("review/form.js")
    _css = styles("review/review.css")
    tags: traitlets.List[Any] = traitlets.List(list(TAGS)).tag(sync=True)
    changes = traitlets.Int(0)

    def __init__(
        self, run: Run | str | Path, split: str = "test", *, selection: Selection | None = None
    ) -> None:
        self.trouble = ""
        self._unsaved: list[Change] = []
        run = as_run(run)
        self.notes: Notes | None = None
        self._read(run)
        super().__init__(run, run.predictions(split), split, selection)

    @property
    def unsaved(self) -> list[str]:
        """Clips with changes that are not in the file yet."""
        return list(dict.fromkeys(change.clip_id for change in self._unsaved))

    @property
    def shown(self) -> dict[str, Note]:
        """All notes, with unsaved changes."""
        notes = dict(self.notes or {})
        for change in self._unsaved:
            note = change.of(notes.get(change.clip_id))
            notes.pop(change.clip_id, None)
            if note:
                notes[change.clip_id] = note
        return notes

    def close(self) -> None:
        """Take the form off the page after a last attempt to save; a warning names changes that are lost."""
        if self._unsaved:
            self.save()
        if self._unsaved:
            warnings.warn(f"notes on {some(self.unsaved)} could not be saved: {self.trouble}", stacklevel=2)
            self._unsaved.clear()
        super().close()

    def change(self, change: Change) -> None:
        """Make a change, and save it with all unsaved ones."""
        self._unsaved.append(change)
        self.save()

    def save(self) -> None:
        """Save all unsaved changes; if that fails, `trouble` is the reason and nothing is lost."""
        if self._read(self.run) and self._unsaved:
            assert self.notes is not None
            try:
                self.notes.change(*self._unsaved)
            except MgkitError as error:
                self.trouble = str(error)
            else:
                self._unsaved.clear()
        self.changes += 1
        self._show(self.selection.state)

    def _read(self, run: Run) -> bool:
        """Read the file; return whether that worked."""
        try:
            if self.notes is None:
                self.notes = run.notes()
            elif self.notes.refresh():
                self.changes += 1  # made elsewhere: another explorer, another notebook, an editor
        except MgkitError as error:
            self.trouble = str(error)
            return False
        if not self._unsaved:
            self.trouble = ""
        return True

    def _marks(self, rows: npt.NDArray[np.int64], focus: int | None) -> dict[str, Any]:
        row = focus if focus is not None else int(rows[0]) if len(rows) else None
        if self._read(self.run):
            self.trouble = self.trouble if self._unsaved else ""
        shown = self.shown
        clip_id = None if row is None else self.predictions.clip_ids[row]
        note = Note("", "") if clip_id is None else shown.get(clip_id, Note(clip_id, self.split))
        return {
            "clip": clip_id,
            "true": None if row is None else self.run.classes.names[self.predictions.labels[row]],
            "note": {
                "tags": list(note.tags),
                "label": note.label,
                "text": note.text,
                "updated": note.updated,
            },
            "saved": clip_id not in self.unsaved,
            "unsaved": len(self.unsaved),
            "noted": len(shown),
            "trouble": self.trouble,
        }

    def _act(self, act: str, content: dict[str, Any]) -> None:
        if act == "save":
            self.save()
        elif act == "note":
            clip_id = content.get("clip_id")
            if not isinstance(clip_id, str) or clip_id not in self._row:
                raise MgkitError(f"the page sent a note on clip {clip_id!r}, which is not in {self.split}.")
            tag, label, text = content.get("tag"), content.get("label"), content.get("text")
            strings = all(
                isinstance(content.get(key), str | None) for key in ("tag", "label", "text", "before")
            )
            if not strings or (tag and tag not in TAGS) or (label and label not in self.run.classes.names):
                raise MgkitError(f"the page sent {content}, which is not a note.")
            on = content.get("on") is True
            self.change(
                Change(
                    clip_id, self.split, (tag,) if tag and on else (), (tag,) if tag and not on else (),
                    label, text, content.get("before") or "",
                )
            )  # fmt: skip
