"""Settings as frozen dataclasses: types and ranges are declared next to the fields, and checked in one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from mgkit.errors import MgkitError, some

__all__ = ["Settings", "close_to", "find", "flat", "flat_all", "plain", "setting", "shortest_names"]


def setting(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    one_of: tuple[Any, ...] = (),
    above: float | None = None,
    optional: bool = False,
    kind: type | None = None,
    text: str = "",
) -> Any:
    """A field of a `Settings` class.

    Args:
        default: its type is the type of the field, unless `kind` is given.
        low, high: bounds of a number, inclusive.
        above: an exclusive lower bound.
        one_of: the values allowed.
        optional: None is allowed, too.
        kind: the type, where the default is None; object where the class checks the value itself.
        text: what the setting is, for a help text.
    """
    limits = {
        "low": low, "high": high, "above": above, "one_of": one_of, "optional": optional,
        "kind": kind or type(default), "text": text,
    }  # fmt: skip
    return field(default=default, metadata=limits)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of the parts of a recipe: every field has a default, whose type and range its values must have."""

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.metadata:
                value = _checked(one.name, getattr(self, one.name), one.default, one.metadata)
                object.__setattr__(self, one.name, value)

    @classmethod
    def names(cls) -> list[str]:
        """The names of the settings."""
        return [one.name for one in fields(cls) if one.metadata]

    @classmethod
    def default(cls, name: str) -> Any:
        """The default of a setting."""
        value = cls.__dataclass_fields__[name].default
        assert value is not MISSING
        return value

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return {name: plain(getattr(self, name)) for name in self.names()}

    @classmethod
    def from_dict(cls, value: Any, where: str) -> Any:
        """The inverse of `to_dict`; `where` is named in errors."""
        if not isinstance(value, Mapping):
            raise MgkitError(f"{where} is {value!r}: a dictionary of settings is expected.")
        if unknown := sorted(set(value) - set(cls.names())):
            raise MgkitError(f"{where}: unknown setting {unknown[0]!r}; it was written by another mgkit.")
        return cls(**value)


def _checked(name: str, value: Any, default: Any, limits: Mapping[str, Any]) -> Any:
    """A value as its field holds it (lists become tuples), or a `MgkitError`."""
    if value is None and limits["optional"]:
        return None
    if isinstance(value, list):
        value = tuple(value)
    if limits["one_of"]:
        if value not in limits["one_of"]:
            raise MgkitError(f"{name} is {value!r}; use {' or '.join(map(repr, limits['one_of']))}.")
        return value
    kind = limits["kind"]
    if kind is object:  # the class itself checks it
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if kind is bool:
        good, need = isinstance(value, bool), "true or false"
    elif kind is int:
        good, need = number and isinstance(value, int), "a whole number"
    elif kind is float:
        good, need = number, "a number"
    elif kind is tuple:
        kinds = {type(item) for item in default} or {str}
        need = "a list of whole numbers, like [8,22]" if kinds == {int} else "a list"
        good = isinstance(value, tuple) and (kinds != {int} or all(type(item) is int for item in value))
    else:
        good, need = isinstance(value, str), "a text"
    low, high, above = limits["low"], limits["high"], limits["above"]
    if good and number:
        good = (low is None or value >= low) and (high is None or value <= high)
        good = good and (above is None or value > above)
    if not good:
        if low is not None and high is not None:
            need += f", {_number(low)} to {_number(high)}"
        elif low is not None:
            need += f", {_number(low)} or more"
        elif above is not None:
            need += f" above {_number(above)}"
        raise MgkitError(f"{name} is {value!r}; use {need}.")
    return value


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def plain(value: Any) -> Any:
    """A setting as JSON holds it."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value.to_dict() if hasattr(value, "to_dict") else value


# --- settings by name -----------------------------------------------------------------------------------------------


def find(name: str, paths: Iterable[str]) -> list[str]:
    """The dotted paths that a name means: the path itself, or those that end in it.

    >>> find("width", ["network.width", "network.head.dropout"])
    ['network.width']
    >>> find("head.dropout", ["network.width", "network.head.dropout"])
    ['network.head.dropout']
    """
    paths = list(paths)
    if name in paths:
        return [name]
    return [path for path in paths if path.endswith(f".{name}")]


def close_to(name: str, paths: Iterable[str], *, by_group: bool = False) -> str:
    """A hint at settings of similar names, or at all of them.

    Args:
        name: what was asked for.
        paths: of the settings there are.
        by_group: list all of them in any case, by the group that each is in.
    """
    paths = list(paths)
    last = {path.rpartition(".")[2] for path in paths} | set(paths)
    near = get_close_matches(name, sorted(last), 4, 0.6)
    hint = f"did you mean {some(near)}?" if near else ""
    if not by_group:
        return hint or f"there are {some(shortest_names(paths).values(), 100)}."
    groups: dict[str, list[str]] = {}
    for path, short in shortest_names(paths).items():
        group = path.partition(".")[0]
        groups.setdefault("refinement" if group == "prototypes" else group, []).append(short)
    listed = "; ".join(f"{group.replace('_', ' ')}: {', '.join(names)}" for group, names in groups.items())
    return f"{hint} There are {listed}." if hint else f"there are {listed}."


def shortest_names(paths: Iterable[str]) -> dict[str, str]:
    """{path: the shortest end of it that no other path ends in, too}.

    >>> shortest_names(["network.width", "optimisation.epochs", "augment.a.p", "augment.b.p"])
    {'network.width': 'width', 'optimisation.epochs': 'epochs', 'augment.a.p': 'a.p', 'augment.b.p': 'b.p'}
    """
    paths = list(paths)
    names = {}
    for path in paths:
        words = path.split(".")
        ends = (".".join(words[i:]) for i in range(len(words) - 1, -1, -1))
        names[path] = next(end for end in ends if end == path or len(find(end, paths)) == 1)
    return names


def flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recorded recipe by their shortest names, without its stages; see `flat_all`."""
    return flat_all([recipe])[0]


def flat_all(recipes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The settings of recorded recipes by the shortest names that tell those of all of them apart.

    A part is named by its target ("network": "ctrgcn"), and its settings follow; stages are left out. What is not a
    recipe (of a run made of scores) is returned as it is.

    Args:
        recipes: as `Recipe.to_dict` makes them and config.json holds them.
    """
    found = [
        dict(_flat("", {key: value for key, value in recipe.items() if key != "stages"}))
        if "network" in recipe
        else dict(recipe)
        for recipe in recipes
    ]
    names = shortest_names(dict.fromkeys(path for one in found for path in one))
    return [{names[path]: value for path, value in one.items()} for one in found]


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if path == "refinement":
        yield "prototypes", value is not None
        value = value or {}
    if isinstance(value, Mapping) and "part" in value:
        yield path, str(value["part"]).rpartition(":")[2]
        if "weight" in value:
            yield f"{path}.weight", value["weight"]
        for name, item in value.get("settings", {}).items():
            yield from _flat(f"{path}.{name}", item)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(f"{path}.{name}" if path else name, item)
    elif path in ("losses", "augment"):
        for item in value:
            yield from _flat(f"{path}.{item.get('name') or str(item['part']).rpartition(':')[2]}", item)
    else:
        yield path, value
