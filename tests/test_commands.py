"""Every command of mgkit that its messages, pages and notebooks suggest is one that the shell understands."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, suppress
from functools import cache
from io import StringIO
from pathlib import Path

import pytest

from mgkit.cli import _parser, train
from mgkit.cli.data import READER_NAMES
from mgkit.data.readers.options import parse_options
from mgkit.errors import MgkitError, command

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "data").glob("*.md"))]


def filled(node: ast.AST) -> str | None:
    """The text of a string, "X" in place of what is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = []
        for value in node.values:
            called = value.value if isinstance(value, ast.FormattedValue) else None
            parts.append(str(value.value) if isinstance(value, ast.Constant) else said_by_call(called) or "X")
        return "".join(parts)
    return None


def said_by_call(node: ast.AST | None) -> str | None:
    """What a call of `command` says; a list of words that depends on something is left out."""
    if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "command":
        return None
    return command(*(filled(word) or "X" for word in node.args if not isinstance(word, ast.Starred)))


def suggested_by_code() -> Iterator[tuple[str, str]]:
    """(place, command) of each command in quotes or after "next:" in a string, and of each call of `command`."""
    for path in sorted((ROOT / "mgkit").rglob("*.py")):
        place, source = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        if "mgkit " not in source and "command(" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            for text in (filled(node), said_by_call(node)):
                yield from ((place, found) for found in re.findall(r"`(mgkit [^`]+)`", text or ""))
                yield from ((place, found) for found in re.findall(r"next: (mgkit .+)", text or ""))
            if said := said_by_call(node):
                yield place, said


def suggested_by_pages() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.match(r"    (?:\.venv/bin/)?(mgkit .+)", line):
                yield path.name, found[1]
            yield from ((path.name, found) for found in re.findall(r"`(mgkit [^`]+)`", line))
    for path in sorted((ROOT / "notebooks").glob("*.py")):
        text = path.read_text(encoding="utf-8").replace("\n# ", " ")
        yield from ((path.name, found) for found in re.findall(r"`(?:\.venv/bin/)?(mgkit [^`]+)`", text))


_the_parser = cache(_parser)


def understood(text: str) -> None:
    """Raise unless the shell would understand a command; one that is only named must exist."""
    words = shlex.split(text.split(" # ")[0].split("   #")[0].rstrip(".,"))[1:]
    if words[0] in ("READER", "-h", "--help", "--version") or "READER" in words:
        return
    parser = _the_parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    assert words[0] in commands.choices, f"there is no command {words[0]}"
    if all(word.startswith("--") for word in words[1:]):  # named, not spelled out
        command = commands.choices[words[0]]
        with suppress(SystemExit), redirect_stderr(StringIO()):
            command.parse_known_args([])  # adds what it adds late
        known = command._option_string_actions
        assert all(word in known for word in words[1:]), words
        return
    if words[0] == "prepare" and words[1:] and words[1] in (*READER_NAMES, "X") and len(words) == 2:
        return  # the reader is meant
    options, rest = parser.parse_known_args(words)
    if options.command.__name__ == "prepare":
        parse_options(options.reader, rest)
        return
    assert not rest, f"not understood: {rest}"
    if options.command in (train.train, train.launch) and ".py:" not in options.recipe + str(options.network):
        train._recipe(options)  # its settings are those of the recipe


@pytest.mark.parametrize("suggested", [suggested_by_code, suggested_by_pages], ids=["code", "pages"])
def test_every_suggested_command_is_understood(
    suggested: Callable[[], Iterator[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mgkit.data.readers.options.read_names", lambda word: word.split(",")
    )  # no files are there
    found = dict.fromkeys(suggested())
    wrong = []
    for place, text in found:
        try:
            understood(text)
        except (AssertionError, SystemExit, ValueError) as error:
            wrong.append(f"{place}: {text} ({error})")
    assert not wrong, "\n".join(wrong)
    assert len(found) > 20


def test_a_wrong_command_is_found() -> None:
    for text in (
        "mgkit tset runs/x",
        "mgkit train a b --set epoch=3",
        "mgkit test --splits",
        "mgkit folds data/x None",
        "mgkit train a b --epochs 3",
    ):
        with pytest.raises((AssertionError, SystemExit, MgkitError)):
            understood(text)


def test_a_path_with_spaces_is_quoted() -> None:
    assert command("test", Path("runs/my run")) == "mgkit test 'runs/my run'"
