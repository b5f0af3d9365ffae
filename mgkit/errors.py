"""The one error a user of mgkit is meant to read.

A `MgkitError` says what is wrong, where (file, row, field) and what to do about it, in one or two sentences.
The command line prints it without a traceback; anything else that escapes is a defect of mgkit.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from typing import SupportsInt


class MgkitError(ValueError):
    """Something of the user's is wrong and the message says how to put it right."""


def command(*words: object) -> str:
    """A command of mgkit to paste into a shell, whatever is in its paths.

    >>> command("test", "runs/my run", "--split", "val")
    "mgkit test 'runs/my run' --split val"
    """
    return shlex.join(["mgkit", *map(str, words)])


def meant(name: str, names: Iterable[str]) -> str:
    """The names that a mistyped one may stand for, as the end of a message; "" if none is near.

    >>> meant("Touch_Face", ["touch face", "nod"])
    ": did you mean 'touch face'?"
    """
    plain = {" ".join(known.casefold().replace("_", " ").replace("-", " ").split()): known for known in names}
    wanted = " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
    near = [plain[key] for key in get_close_matches(wanted, list(plain), 3, 0.6)]
    return f": did you mean {' or '.join(map(repr, near))}?" if near else ""


def counted(n: SupportsInt, noun: str, plural: str | None = None) -> str:
    """A number and what it counts, in the singular or plural.

    >>> counted(1, "clip"), counted(1000, "clip"), counted(2, "class", "classes")
    ('1 clip', '1,000 clips', '2 classes')
    """
    count = int(n)
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def some(names: Iterable[object], limit: int = 5) -> str:
    """The first few names as one readable phrase: `a, b, c and 7 more`.

    >>> some(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    listed = [str(name) for name in names]
    if len(listed) <= limit:
        return ", ".join(listed)
    return f"{', '.join(listed[:limit])} and {len(listed) - limit} more"
