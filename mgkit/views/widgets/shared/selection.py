"""The selected clips: one object that every widget of a notebook looks at, and none of them owns.

    selection = mg.widgets.Selection()
    matrix = mg.widgets.ConfusionMatrix(run, selection=selection)
    bars = mg.widgets.ClassAccuracy(run, selection=selection)

A click in one view calls `Selection.set`; every view, the clicked one included, is notified once and draws the new
state. Views never observe each other, and setting what is already there notifies nobody, so nothing can echo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import traitlets

from mgkit.errors import MgkitError, counted

DEEPEST = 8  # changes that answer changes; views that only draw never get beyond the first


@dataclass(frozen=True)
class Selected:
    """One state of a `Selection`. Two states with the same clips, focus and description are equal.

    Attributes:
        clip_ids: the selected clips, in order, each once.
        focus: the clip to look at, or None.
        description: what they are, for people: "FN of rub hands", "touch chin predicted as bite nails".
        source: who selected them: the name of a view, or "python".
    """

    clip_ids: tuple[str, ...] = ()
    focus: str | None = None
    description: str = "nothing selected"
    source: str = field(default="python", compare=False)

    def __len__(self) -> int:
        return len(self.clip_ids)


class Selection(traitlets.HasTraits):
    """The selected clips, by clip id, and the one in focus.

    Read `clip_ids`, `focus`, `description` and `source`; change them with `set`, `focus_on` and `clear` only. All four
    change at once: they are the fields of the single trait `state`, so an observer never sees half of a change.

    >>> selection = Selection()
    >>> stop = selection.watch(lambda state: print(f"{state.description}: {len(state)}"))
    >>> selection.set(["c1", "c2"], description="FN of rub hands", source="ConfusionMatrix")
    FN of rub hands: 2
    >>> selection.set(["c1", "c2"], description="FN of rub hands")
    """

    state = traitlets.Instance(Selected, args=(), read_only=True)

    def __init__(self, clip_ids: Iterable[str] = (), description: str | None = None) -> None:
        super().__init__()
        self._depth = 0
        self.set(clip_ids, description=description)

    @property
    def clip_ids(self) -> tuple[str, ...]:
        return self.state.clip_ids

    @property
    def focus(self) -> str | None:
        return self.state.focus

    @property
    def description(self) -> str:
        return self.state.description

    @property
    def source(self) -> str:
        return self.state.source

    def __len__(self) -> int:
        return len(self.state)

    def __bool__(self) -> bool:
        return True  # an empty one is still the shared one: `selection or Selection()` must not unlink a view

    def __iter__(self) -> Iterator[str]:
        return iter(self.state.clip_ids)

    def __repr__(self) -> str:
        focus = f", focus on {self.focus}" if self.focus is not None else ""
        return f"Selection({counted(len(self), 'clip')}: {self.description}{focus})"

    def set(
        self,
        clip_ids: Iterable[str],
        *,
        focus: str | None = None,
        description: str | None = None,
        source: str = "python",
    ) -> None:
        """Select these clips and notify every observer once; nobody is notified if nothing changes.

        Args:
            clip_ids: in the order to show them in; a repeated id counts once, where it came first.
            focus: one of them, or None.
            description: what they are, for people; by default their number.
            source: who selects them.

        Raises:
            MgkitError: ids that are not strings, a focus that is not among them, or observers that keep answering
                each other.
        """
        if isinstance(clip_ids, str):  # its letters would be taken for clip ids
            raise MgkitError(f"clip ids are the string {clip_ids!r}: give a list of ids, [{clip_ids!r}].")
        ids = tuple(dict.fromkeys(clip_ids))
        if wrong := [
            clip_id for clip_id in ids if not isinstance(clip_id, str)
        ]:  # row numbers would select nothing
            raise MgkitError(f"{wrong[0]!r} is not a clip id: clips are selected by their clip_id, a string.")
        if focus is not None and focus not in ids:
            raise MgkitError(
                f"the focus {focus!r} is not among the {counted(len(ids), 'selected clip')}: select it as well."
            )
        if description is None:
            description = _count(ids)
        if self._depth >= DEEPEST:
            raise MgkitError(
                f"observers of a selection answer each other without end (last, {source!r} set {description!r}): "
                "a view must only draw what changed, and set a selection only when a person acts."
            )
        state = Selected(ids, focus, description, source)
        if state == self.state:
            return
        self._depth += 1
        try:
            self.set_trait("state", state)
        finally:
            self._depth -= 1

    def focus_on(self, clip_id: str | None, *, source: str = "python") -> None:
        """Put one of the selected clips in focus (None: no clip); the selection stays as it is."""
        self.set(self.clip_ids, focus=clip_id, description=self.description, source=source)

    def clear(self, *, source: str = "python") -> None:
        """Select nothing."""
        self.set((), source=source)

    def watch(self, callback: Callable[[Selected], object]) -> Callable[[], None]:
        """Call `callback` with the state after each change; returns the function that stops this."""

        def notify(change: object) -> None:
            callback(self.state)

        self.observe(notify, "state")

        def stop() -> None:
            try:
                self.unobserve(notify, "state")
            except ValueError:  # stopped before
                pass

        return stop


def _count(ids: tuple[str, ...]) -> str:
    if not ids:
        return Selected.description
    return f"clip {ids[0]}" if len(ids) == 1 else f"{len(ids):,} clips"
