"""Readers by name, and their options on the command line.

A reader is `read_NAME(source, *, <its own options>) -> RawDataset`. Its keyword arguments are its options
on the command line (`first_frame=` is `--first-frame`), its docstring is their help, its annotations determine how a
word is read: nothing has to be written down twice.
"""

from __future__ import annotations

import argparse
import collections.abc
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from mgkit.data.readers import RawDataset
from mgkit.errors import MgkitError

Reader = Callable[..., RawDataset]

READERS = {
    "imigue": "mgkit.data.readers.imigue:read_imigue",
    "smg": "mgkit.data.readers.smg:read_smg",
    "ma52": "mgkit.data.readers.ma52:read_ma52",
    "pyskl": "mgkit.data.readers.pyskl:read_pyskl",
    "folders": "mgkit.data.readers.folders:read_folders",
    "segments": "mgkit.data.readers.segments:read_segments",
}


def get_reader(reader: str | Reader) -> Reader:
    """A reader by its name, or a reader function as it is; an unknown name raises a `MgkitError`."""
    if callable(reader):
        return reader
    if reader not in READERS:
        raise MgkitError(f"there is no reader {reader!r}; there are {', '.join(READERS)}.")
    module, _, name = READERS[reader].partition(":")
    found: Reader = getattr(importlib.import_module(module), name)
    return found


def plain_reader(reader: str | Reader, options: dict[str, Any]) -> tuple[str | Reader, dict[str, Any]]:
    """A reader that has a name, and its options: a `functools.partial` is taken apart, so that these are recorded."""
    if isinstance(reader, str):
        return reader, options
    found: Any = reader
    while isinstance(found, functools.partial):
        if found.args:
            raise MgkitError(
                f"the reader {found.func!r} is a partial with values by place: give them by name."
            )
        found, options = found.func, {**found.keywords, **options}
    return (found if hasattr(found, "__qualname__") else found.__call__), options  # of an object


def parse_options(name: str, words: Sequence[str]) -> dict[str, Any]:
    """A reader's options from words like `--skeleton coco17 --splits train,test`.

    Returns:
        Keyword arguments of the reader; those that are not given are left out.

    Raises:
        MgkitError: an unknown option, or a value of another type.
    """
    parser = _parser(get_reader(name), name)
    given, rest = parser.parse_known_args(list(words))
    if rest:
        known = sorted(action.option_strings[0] for action in parser._actions if action.dest != "help")
        raise MgkitError(
            f"the reader {name} has no option {rest[0]!r}; it has {', '.join(known) or 'none'}: "
            f"see mgkit prepare {name} --help."
        )
    return {key: value for key, value in vars(given).items() if value is not None}


def listed(read: Reader, name: str, value: Any) -> Any:
    """A value of an option as its reader takes it: text in place of a list is read as on the command line.

    Otherwise "a,b" would be a list of three letters.
    """
    kinds = _kinds(typing.get_type_hints(read).get(name, str))
    wanted = isinstance(value, str) and str not in kinds and any(_is_list(kind) for kind in kinds)
    return read_names(value) if wanted else value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise MgkitError(f"{message}; see {self.prog} --help.")


def _parser(read: Reader, name: str) -> argparse.ArgumentParser:
    text = inspect.getdoc(read) or ""
    parser = _Parser(
        prog=f"mgkit prepare {name}",
        usage=f"mgkit prepare {name} SOURCE OUT [options of prepare] [options of the reader]",
        description=text.split("\n\n")[0],
        allow_abbrev=False,
    )
    helps = _argument_helps(text)
    hints = typing.get_type_hints(read)
    for parameter in inspect.signature(read).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name == "cache":
            continue
        kinds = _kinds(hints.get(parameter.name, str))
        text = helps.get(parameter.name, "")
        if parameter.default not in (None, inspect.Parameter.empty):
            text = f"{text} (default: {parameter.default})"
        how: dict[str, Any] = {"dest": parameter.name, "default": None, "help": text.replace("%", "%%")}
        if bool in kinds:
            how["action"] = argparse.BooleanOptionalAction
        else:
            how["type"] = _reading(parameter.name, kinds)
            how["metavar"] = _metavar(kinds)
        parser.add_argument("--" + parameter.name.replace("_", "-"), **how)
    return parser


def _kinds(hint: Any) -> list[Any]:
    """The plain types of an annotation, without None: `str | Path | None` gives [str, Path]."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return [kind for part in typing.get_args(hint) for kind in _kinds(part)]
    return [] if hint is type(None) else [hint]


def _is_list(kind: Any) -> bool:
    origin = typing.get_origin(kind) or kind
    return origin in (list, tuple, collections.abc.Sequence, collections.abc.Iterable, set, frozenset)


def _metavar(kinds: list[Any]) -> str:
    literals = [
        str(value) for kind in kinds if typing.get_origin(kind) is Literal for value in typing.get_args(kind)
    ]
    if literals:
        return "{" + ",".join(literals) + "}"
    if any(_is_list(kind) for kind in kinds):
        return "A,B,... or FILE"
    if int in kinds or float in kinds:
        return "NUMBER"
    return "PATH" if Path in kinds else "NAME"


def _reading(name: str, kinds: list[Any]) -> Callable[[str], Any]:
    """A function from a word to a value of one of these types."""

    def read(word: str) -> Any:
        for kind in kinds:
            if typing.get_origin(kind) is Literal:
                for value in typing.get_args(kind):
                    if word == str(value):
                        return value
            elif kind in (int, float):
                try:
                    return kind(word)
                except ValueError:
                    continue
            elif _is_list(kind):
                try:
                    return read_names(word)
                except MgkitError as error:
                    raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None
            elif kind is Path and str not in kinds:
                return Path(word)
            elif kind is str:
                return word
        raise argparse.ArgumentTypeError(f"{word!r} is not a {_metavar(kinds)}")

    return read


def read_names(word: str) -> list[str]:
    """Comma-separated names, or those in a file: a .json list, or one per line."""
    path = Path(word)
    if path.suffix in (".json", ".txt") or path.is_file():
        from mgkit.data.readers.pyskl import read_classes

        return read_classes(path)
    return [part.strip() for part in word.split(",") if part.strip()]


def _argument_helps(text: str) -> dict[str, str]:
    """The text on each argument in the section `Args:` of a docstring."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.S | re.M)
    if section is None:
        return {}
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section[1], re.S | re.M)
    return {name: " ".join(words.split()) for name, words in entries}
