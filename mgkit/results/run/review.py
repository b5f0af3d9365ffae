"""Review notes: a person's findings about single clips of a run, kept in its `review.csv`.

    clip_id, split, tags, label, note, updated

One row per clip; `tags` are some of `TAGS`, separated by semicolons, `label` is the name of the right class, `note` is
free text, `updated` ISO 8601 UTC. The file is written whole at every change. Before that it is read again under a lock,
and only the row that changes is replaced, so that notebooks open side by side keep each other's notes. A file that is
damaged, or not of this kind, is never overwritten.

A spreadsheet may save the file with semicolons or tabs, and ids without their leading zeros: it is read all the same,
and `Notes.odd` says so, as it does of notes on clips that the run does not have.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import html
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import pandas as pd

from mgkit.data.splits import BETWEEN, TAGS, WRONG_LABEL, split_tags
from mgkit.errors import MgkitError, counted, some
from mgkit.files import atomic, exclusive
from mgkit.results.run.folder import Run

COLUMNS = ("clip_id", "split", "tags", "label", "note", "updated")
PATIENCE = 5.0  # seconds that a change waits for one that is being written
LONGEST = 20_000  # characters of a text: a field of 131,072 could not be read again
LOCK = ".review.lock"
Signature = tuple[int, int, int]  # by which a file that somebody else has written is noticed


@dataclass(frozen=True)
class Note:
    """Note on one clip.

    Attributes:
        clip_id, split: the clip, and the split it was looked at in.
        tags: some of `TAGS`, in their order.
        label: name of the right class, "" = not proposed.
        text: free text.
        updated: time of the last change, ISO 8601 UTC.
    """

    clip_id: str
    split: str
    tags: tuple[str, ...] = ()
    label: str = ""
    text: str = ""
    updated: str = ""

    def __bool__(self) -> bool:
        return bool(self.tags or self.label or self.text)


@dataclass(frozen=True)
class Change:
    """Change of a note, which can be made to whatever the note has become meanwhile.

    Attributes:
        clip_id, split: the clip, and the split it is looked at in.
        add, drop: tags.
        label: the right class, "" for none; None = unchanged. A label adds the tag "label wrong", and dropping that tag
            drops the label.
        text: the new text; None = unchanged.
        before: the text that was changed. Where there is another one by now, both are kept.
    """

    clip_id: str
    split: str
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    label: str | None = None
    text: str | None = None
    before: str = ""

    def of(self, note: Note | None, updated: str = "") -> Note:
        """The note after this change."""
        old = note or Note(self.clip_id, self.split)
        tags = (set(old.tags) | set(self.add)) - set(self.drop)
        label = old.label if self.label is None else self.label
        if WRONG_LABEL in self.drop:
            label = ""
        elif self.label:
            tags.add(WRONG_LABEL)
        text = old.text if self.text is None else clean(self.text)
        if self.text is not None and old.text not in ("", self.before, text):
            there = f"\n{text}\n" in f"\n{old.text}\n"
            text = f"{old.text}\n{text}" if text and not there else old.text
        kept = tuple(tag for tag in TAGS if tag in tags)
        return replace(old, split=self.split, tags=kept, label=label, text=text, updated=updated)


class Notes(Mapping[str, Note]):
    """The review notes of a run, by clip id. `change` and `set` write at once; the rest reads.

    Args:
        run: the run.

    Attributes:
        path: the file.
        odd: sentences on what a spreadsheet did to the file, and on clips that the run does not have.

    Raises:
        MgkitError: the file cannot be read, or a row of it is not valid: the message names file, line and remedy.
    """

    def __init__(self, run: Run) -> None:
        self.path, self._run = run.root / "review.csv", run
        self.odd: list[str] = []
        self._notes: dict[str, Note] = {}
        self._seen: Signature | None = None
        self.refresh()

    def __getitem__(self, clip_id: str) -> Note:
        return self._notes[clip_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._notes)

    def __len__(self) -> int:
        return len(self._notes)

    def __repr__(self) -> str:
        tags = ", ".join(f"{tag} {count}" for tag in TAGS if (count := len(self.tagged(tag))))
        odd = "".join(f"; {text}" for text in self.odd)
        return f"Notes({str(self.path)!r}: {counted(len(self), 'clip')}{f' ({tags})' if tags else ''}{odd})"

    def _repr_html_(self) -> str:
        odd = "".join(f"<p>{html.escape(text)}</p>" for text in self.odd)
        return str(self.frame().to_html(index=False)) + odd

    def refresh(self) -> bool:
        """Read the file again if it has changed; returns whether it has."""
        signature = self._signature()
        if signature == self._seen:
            return False
        self._notes, self.odd = self._read()
        self._seen = signature
        return True

    def _read(self) -> tuple[dict[str, Note], list[str]]:
        """The notes of the file under the ids of the run, and what is odd about them."""
        found, odd = read_notes(self.path, self._run)
        unknown = [clip_id for clip_id in found if self._splits_of(clip_id) == set()]
        padded = {}
        if any(clip_id.isdecimal() for clip_id in unknown):
            numbered = {int(clip_id): clip_id for clip_id in self._ids() if clip_id.isdecimal()}
            padded = {i: numbered[int(i)] for i in unknown if i.isdecimal() and int(i) in numbered}
        for short, clip_id in padded.items():
            if clip_id in found:
                raise MgkitError(
                    f"{self.path}: clip {clip_id!r} is in two rows, once as {short!r} without its leading zeros: join "
                    "them; the file is never overwritten."
                )
        if padded:
            pairs = some((f"{short} is {clip_id}" for short, clip_id in padded.items()), 3)
            odd.append(f"leading zeros of ids were lost in a spreadsheet: put back ({pairs})")
        unknown = [clip_id for clip_id in unknown if clip_id not in padded]
        if unknown:
            some_of = counted(len(unknown), "note")
            odd.append(f"{some_of} on clips that {self._run.root} does not have: {some(unknown)}")
        notes = {padded.get(i, i): replace(note, clip_id=padded.get(i, i)) for i, note in found.items()}
        return notes, odd

    def _splits_of(self, clip_id: str) -> set[str] | None:
        """The splits that a clip of the run is in; None if it is not known which clips the run has."""
        found = set()
        for split in self._run.splits():
            with contextlib.suppress(MgkitError):  # damaged predictions keep nobody from noting something
                if clip_id in self._run.predictions(split):
                    found.add(split)
        if found or self._folder is None:
            return found if found or self._run.scores_only else None
        return {self._folder[clip_id]} if clip_id in self._folder else set()

    @cached_property
    def _folder(self) -> dict[str, str] | None:
        """The split of each clip of the folder that the run was made from; None if that is not there."""
        try:
            table = self._run.clips().table
        except MgkitError:
            return None
        return dict(zip(table["clip_id"], table["split"], strict=True))

    def _ids(self) -> set[str]:
        """The clips of the run, as far as they are known."""
        ids = set(self._folder or ())
        for split in self._run.splits():
            with contextlib.suppress(MgkitError):
                ids.update(self._run.predictions(split).clip_ids)
        return ids

    def tagged(self, tag: str) -> list[str]:
        """The clips with this tag."""
        _check_tags([tag])
        return [clip_id for clip_id, note in self.items() if tag in note.tags]

    def set(
        self,
        clip_id: str,
        tags: Iterable[str] = (),
        *,
        label: str = "",
        text: str = "",
        split: str | None = None,
    ) -> Note:
        """Write the whole note of a clip, whatever it was before; without tags, label and text it is removed.

        Args:
            clip_id: a clip of the run.
            tags: some of `TAGS`.
            label: name of the right class.
            text: free text.
            split: the split it was looked at in; by default the one it is in.

        Raises:
            MgkitError: as `change`.
        """
        if split is None:
            there = self._splits_of(clip_id)
            split = "test" if not there or "test" in there else min(there)
        given = [tags] if isinstance(tags, str) else list(tags)
        drop = tuple(tag for tag in TAGS if tag not in given and not (tag == WRONG_LABEL and label))
        before = self.get(clip_id)
        change = Change(
            clip_id, split, tuple(given), drop, label, text, before.text if before is not None else ""
        )
        return self.change(change)

    def change(self, *changes: Change) -> Note:
        """Make changes to the file as it is now, and write it; returns the note of the last one.

        Raises:
            MgkitError: an unknown tag, class or clip, a split that the clip is not in, a damaged file, or a folder that
                cannot be written to. Nothing is changed then.
        """
        for change in changes:
            _check_tags([*change.add, *change.drop])
            if change.label:
                self._run.classes.index(change.label)
            if not change.clip_id or not change.split:
                raise MgkitError(
                    f"a note needs a clip and a split, not {change.clip_id!r}, {change.split!r}."
                )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with exclusive(self.path.parent, LOCK, PATIENCE):
            notes, _ = self._read()
            note = None
            for change in changes:
                self._check_clip(change, notes)
                note = change.of(notes.get(change.clip_id), now)
                if len(note.text) > LONGEST:
                    raise MgkitError(
                        f"the text on clip {change.clip_id!r} would have {len(note.text):,} characters: shorten it to "
                        f"{LONGEST:,}."
                    )
                if note:
                    notes[change.clip_id] = note
                else:
                    notes.pop(change.clip_id, None)
            with atomic(self.path) as temporary:
                temporary.write_bytes(as_csv(notes.values()).encode())
            self._notes, self.odd = self._read()
            self._seen = self._signature()
        assert note is not None
        return note

    def _check_clip(self, change: Change, notes: Mapping[str, Note]) -> None:
        """Refuse a note on a clip that the run does not have, or not in that split; one may still be taken away."""
        there = self._splits_of(change.clip_id)
        if there == set() and change.clip_id not in notes:
            near = get_close_matches(change.clip_id, self._ids(), 3)
            hint = f"did you mean {some(near)}?" if near else "notes are on clips of the run."
            raise MgkitError(f"{self._run.root} has no clip {change.clip_id!r}: {hint}")
        if there and change.split not in there:
            raise MgkitError(
                f"clip {change.clip_id!r} of {self._run.root} is in the split {some(sorted(there))}, not in "
                f"{change.split!r}: give that one."
            )

    def frame(self) -> pd.DataFrame:
        """One row per clip with the columns of the file."""
        return pd.DataFrame([_row(note) for note in self.values()], columns=list(COLUMNS), dtype=str)

    def save(self, path: str | Path) -> Path:
        """Write the notes as CSV, anywhere."""
        path = Path(path)
        with atomic(path) as temporary:
            temporary.write_bytes(as_csv(self.values()).encode())
        return path

    def _signature(self) -> Signature | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MgkitError(f"{self.path} cannot be read ({error.strerror}).") from None
        return found.st_mtime_ns, found.st_size, found.st_ino


def read_notes(path: Path, run: Run) -> tuple[dict[str, Note], list[str]]:
    """Read the notes of a file, by clip id; none where there is no file. And what is odd about the file, in sentences.

    Raises:
        MgkitError: the file is damaged or not valid, or its folder is gone.
    """
    remedy = "correct it, or move it away to begin again; it is never overwritten"
    try:
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except FileNotFoundError:
        if not path.parent.is_dir():  # moved, or a share that is away: the notes are somewhere
            raise MgkitError(
                f"{path.parent} is gone: put it back, or open the run where it is now."
            ) from None
        return {}, []
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise MgkitError(
            f"{path} is not UTF-8 text (byte {error.start}); if a spreadsheet saved it, save it there as CSV UTF-8; "
            f"else {remedy}."
        ) from None
    head = text.splitlines()[:1]
    mark = next((mark for mark in ";\t" if tuple(next(csv.reader(head, delimiter=mark), [])) == COLUMNS), ",")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
    notes: dict[str, Note] = {}
    try:
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            raise MgkitError(
                f"{path}, line 1: the columns are {some(header, 8) or 'none'}, but review notes have "
                f"{', '.join(COLUMNS)}: {remedy}."
            )
        for fields in reader:
            if not any(field.strip() for field in fields):  # a spreadsheet leaves such rows
                continue
            try:
                note = _note(fields, run)
                if note.clip_id in notes:
                    raise MgkitError(f"clip {note.clip_id!r} is in two rows")
            except MgkitError as error:
                wrong = str(error).removesuffix(".")
                raise MgkitError(f"{path}, line {reader.line_num}: {wrong}; {remedy}.") from None
            notes[note.clip_id] = note
    except csv.Error as error:
        raise MgkitError(f"{path}, line {reader.line_num}: {error}; {remedy}.") from None
    odd = [{";": "with semicolons", "\t": "with tabs"}[mark]] if mark != "," else []
    odd += ["in UTF-16"] if wide else []
    if not odd:
        return notes, []
    return notes, [
        f"a spreadsheet saved the file {' and '.join(odd)}: read, and written with commas in UTF-8 at the next change"
    ]


def as_csv(notes: Iterable[Note]) -> str:
    """Notes as the text of a file."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for row in map(_row, notes):
        # csv quotes a field with a line feed, but not one with a lone carriage return, which ends a row, too.
        (quoted if any("\r" in field for field in row) else writer).writerow(row)
    return stream.getvalue()


def clean(text: str) -> str:
    """A text as it is stored: no white space around it, line feeds between lines, half a character as U+FFFD."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _row(note: Note) -> list[str]:
    return [note.clip_id, note.split, BETWEEN.join(note.tags), note.label, note.text, note.updated]


def _note(fields: list[str], run: Run) -> Note:
    if len(fields) != len(COLUMNS):
        raise MgkitError(f"it has {counted(len(fields), 'field')} instead of {len(COLUMNS)}")
    clip_id, split, field, label, text, updated = fields
    if not clip_id or not split:
        raise MgkitError(f"the {'split' if clip_id else 'clip_id'} is missing")
    tags = split_tags(field)
    _check_tags(tags)
    if label and label not in run.classes.names:
        raise MgkitError(f"label {label!r} is not a class of the run ({some(run.classes.names)})")
    if updated:
        try:
            datetime.fromisoformat(updated)
        except ValueError:
            raise MgkitError(f"updated is {updated!r}, not a time like 2026-01-31T12:00:00+00:00") from None
    return Note(clip_id, split, tuple(tag for tag in TAGS if tag in tags), label, text, updated)


def _check_tags(tags: Iterable[str]) -> None:
    unknown = [tag for tag in tags if tag not in TAGS]
    if unknown:
        raise MgkitError(
            f"there is no tag {some(repr(tag) for tag in unknown)}: use some of {', '.join(TAGS)}."
        )
