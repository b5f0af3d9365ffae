"""A progress bar in a terminal or notebook, a line per minute in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

from mgkit.notebook import has_kernel

Item = TypeVar("Item")


def out() -> TextIO:
    """The stream for progress: stderr; in a notebook stdout, since Jupyter shows stderr as if it were an error."""
    return sys.stdout if has_kernel() else sys.stderr


def live(show: bool = True) -> bool:
    """Whether a moving bar makes sense: in a terminal or a notebook, not in a log file."""
    return show and (sys.stderr.isatty() or has_kernel())


BAR = "{desc}: {percentage:3.0f}% {bar} {n_fmt}/{total_fmt} {rate_fmt}"


class Progress:
    """A text bar over clips (or another `unit`); in a log (no terminal, no notebook) a line per minute, and what `say`
    is given. Both have the time left; where the text of a bar says it ("1:15 left"), of more than the bar, that stands.

    Use as a context manager; `advance` moves it, `say` writes a line above it. What is mostly done at once gets its bar
    `after` some seconds only.
    """

    LOG_EVERY = 60.0  # seconds between the lines of a log

    def __init__(self, label: str, show: bool = True, unit: str = "clips", after: float = 0.0) -> None:
        self.label, self.show, self.unit, self.after = label, show, unit, after
        self.live = live(show)
        self._bar: Any = None
        self._done, self._text = 0, ""
        self._began = self._since = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def each(self, items: Sequence[Item]) -> Iterator[Item]:
        """The items one after the other: the bar moves when one is done, and is closed after the last."""
        with self:
            for item in items:
                yield item
                self.advance(1, len(items))

    def advance(self, clips: int, total: int, text: str = "") -> None:
        """Move by some clips of a total (0 only shows the text); the bar is made at the first call."""
        self._done += clips
        self._text = text or self._text
        if not self.live:
            now = time.monotonic()
            if now - self._since >= self.LOG_EVERY and self._done < total:
                self._since = now
                speed = self._done / max(now - self._began, 1e-9)
                minutes = (total - self._done) / speed / 60
                done, rate = f"{self._done} of {total} {self.unit}", f"{speed:.1f} {self.unit}/s"
                line = f"{self.label}: {done}, {rate}, {minutes:.0f} min left"
                self.say(", ".join(filter(None, [line, self._text])))
            return
        if self._bar is None:
            # Gone when it is full: the line that `say` leaves is what stays.
            self._bar = tqdm(
                total=total,
                desc=self.label,
                unit=f" {self.unit}",
                bar_format=BAR,
                mininterval=0.3,
                delay=self.after,
                dynamic_ncols=True,
                leave=False,
                file=out(),
            )
        self._bar.bar_format = BAR + ("" if " left" in self._text else ", {remaining} left") + "{postfix}"
        if text:
            self._bar.set_postfix_str(text, refresh=not clips)  # it stays until there is another one
        self._bar.update(clips)

    def say(self, line: str) -> None:
        """Print a line that stays, in a terminal as in a log."""
        if not self.show:
            return
        if self.live:
            tqdm.write(line, file=out())
        else:
            print(line, file=sys.stderr, flush=True)


def spoken(seconds: float) -> str:
    """A duration in words.

    >>> spoken(40), spoken(150), spoken(7900)
    ('40 s', '3 min', '2 h 12 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
