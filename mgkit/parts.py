"""Parts of a recipe that are code: networks, fusion modules, heads, losses, augmentations, streams; ours and a user's.

    part(two_pathway, fusion=part(GatedSum, hidden=64))
    part("my_models.py:my_net", width=16)

A part is a function or class with settings, which are checked against its signature when it is made. What mgkit knows
when it calls the target (classes, inputs, channels, a generator, ...) is passed by name, where the signature has it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mgkit.errors import MgkitError, some
from mgkit.settings import close_to, plain

__all__ = ["LOADED", "SUPPLIED", "Part", "is_own", "load_file", "load_target", "part"]

# What mgkit passes to parts of one kind or another by these names; never settings.
SUPPLIED = (
    "classes", "inputs", "generator", "class_counts", "class_names", "channels", "rgb_channels", "pose_channels",
    "speed_ratio", "outputs", "labels", "keypoints", "video", "times", "fps",
)  # fmt: skip
LOADED = "mgkit_part_"  # begins the names of modules that were imported from a file
_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Part:
    """A function or class with its settings; made by `part`.

    Attributes:
        target: what is called.
        given: pairs of name and value of the settings that differ from the signature's defaults.
        weight: of a loss term.
        label: name of a loss term or an augmentation in tables; "" for the target's.
    """

    target: Callable[..., Any]
    given: tuple[tuple[str, Any], ...] = ()
    weight: float = 1.0
    label: str = ""

    @property
    def name(self) -> str:
        """How the part is called in tables and messages."""
        return self.label or self.target.__name__

    @property
    def path(self) -> str:
        """Where the target can be imported from: "package.module:name", or "code/file.py:name" in a run folder."""
        name = self.target.__qualname__
        return f"code/{self.file}:{name}" if self.file else f"{self.target.__module__}:{name}"

    @property
    def own(self) -> bool:
        """Whether the target is the user's code, rather than mgkit's or an installed package's."""
        return is_own(self.target.__module__)

    @property
    def file(self) -> str | None:
        """Name of the file in `code/` of a run folder that holds the target; None where a package is imported.

        A file of the user's keeps its name; what was defined in a notebook gets one of its own.
        """
        module = self.target.__module__
        if module == "__main__":
            return f"{self.target.__qualname__}.py"
        if module.startswith(LOADED) or (self.own and "." not in module):
            return Path(str(getattr(sys.modules.get(module), "__file__", None) or f"{module}.py")).name
        return None

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the target with its value, defaults included, in the order of the signature."""
        given = dict(self.given)
        known = {name: given.get(name, one.default) for name, one in _settings_of(self.target).items()}
        return known | given  # the others are what a target with **settings takes

    def with_(self, **changes: Any) -> Part:
        """The part with other settings, weight or name."""
        known = _settings_of(self.target)
        weight = changes.pop("weight", self.weight) if "weight" not in known else 1.0
        label = changes.pop("name", self.label) if "name" not in known else ""
        return _made(self.target, dict(self.given) | changes, weight, label)

    def takes(self, name: str) -> bool:
        """Whether the target has a parameter of this name."""
        return name in _parameters(self.target)

    def build(self, **supplied: Any) -> Any:
        """Call the target with its settings, and with those of the supplied values that it has parameters for."""
        return self.target(**{name: v for name, v in supplied.items() if self.takes(name)}, **self.settings)

    def nested(self) -> Iterator[Part]:
        """The part itself and all parts among its settings."""
        yield self
        for value in self.settings.values():
            if isinstance(value, Part):
                yield from value.nested()

    def to_dict(self) -> dict[str, Any]:
        """Plain values as config.json holds them; `from_dict` is the inverse."""
        value: dict[str, Any] = {"part": self.path}
        if self.weight != 1.0:
            value["weight"] = self.weight
        if self.label:
            value["name"] = self.label
        return {**value, "settings": plain(self.settings)}

    @classmethod
    def from_dict(cls, value: Any, where: str, load: Callable[[str], Any]) -> Part:
        """The part that `to_dict` recorded.

        Args:
            value: the dictionary.
            where: named in errors.
            load: gives the target of a path, `load_target` or one that knows a `code/` folder.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("part"), str):
            raise MgkitError(f"{where}: {value!r} is not a part.")
        settings = {
            name: cls.from_dict(item, where, load) if isinstance(item, Mapping) and "part" in item else item
            for name, item in value.get("settings", {}).items()
        }
        return _made(load(value["part"]), settings, value.get("weight", 1.0), value.get("name", ""))

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process a part from a file is imported from there; the module's name means nothing to it."""
        module = self.target.__module__
        if not module.startswith(LOADED):
            return Part, (self.target, self.given, self.weight, self.label)
        file = str(sys.modules[module].__file__)
        return _restored, (file, self.target.__qualname__, self.given, self.weight, self.label)

    def __repr__(self) -> str:
        words = [self.target.__qualname__, *(f"{name}={value!r}" for name, value in self.given)]
        words += [f"weight={self.weight:g}"] if self.weight != 1.0 else []
        words += [f"name={self.label!r}"] if self.label else []
        return f"part({', '.join(words)})"


def _restored(file: str, name: str, given: tuple[tuple[str, Any], ...], weight: float, label: str) -> Part:
    return Part(load_target(f"{file}:{name}"), given, weight, label)


def part(target: Callable[..., Any] | str, **settings: Any) -> Part:
    """A function or class with settings, as a recipe takes it.

    Args:
        target: the function or class, or where to import it from: "package.module:name" or "file.py:name".
        settings: arguments of the target by name: numbers, texts, lists, dictionaries, other parts. The part of a loss
            may also have `weight`, its factor in the sum, and `name`, what it is called in tables; the part of an
            augmentation `name`. What mgkit supplies (SUPPLIED) cannot be set.

    Raises:
        MgkitError: the target has no such setting, or lacks one without a default.

    Example:
        >>> def net(classes, inputs, *, width=32, generator=None): ...
        >>> part(net, width=16)
        part(net, width=16)
        >>> part(net, widht=3)
        Traceback (most recent call last):
        mgkit.errors.MgkitError: net has no setting 'widht': did you mean width?
    """
    found = load_target(target) if isinstance(target, str) else target
    if not (inspect.isfunction(found) or inspect.isclass(found)):
        raise MgkitError(
            f"{found!r} is not a function or class: give mg.part one that is called when it is needed."
        )
    known = _settings_of(found)
    weight = settings.pop("weight", 1.0) if "weight" not in known else 1.0
    label = settings.pop("name", "") if "name" not in known else ""
    return _made(found, settings, weight, label)


def _made(target: Callable[..., Any], settings: Mapping[str, Any], weight: float, name: str) -> Part:
    """A part whose settings fit the signature; values as they are kept, without those that are the default."""
    known, called = _settings_of(target), target.__name__
    takes_any = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(target).parameters.values())
    for key in settings:
        if key in SUPPLIED:
            raise MgkitError(f"{called}: {key} is supplied by mgkit and cannot be set.")
        if key not in known and not takes_any:
            there = close_to(key, known) if known else "it has none."
            raise MgkitError(f"{called} has no setting {key!r}: {there}")
    missing = [key for key, one in known.items() if one.default is one.empty and key not in settings]
    if missing:
        raise MgkitError(
            f"{called} needs {some(missing)}: give {'it' if len(missing) == 1 else 'them'} to mg.part."
        )
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise MgkitError(f"{called}: weight is {weight!r}; use a number, 0 or more.")
    if not isinstance(name, str) or (name and not name.isidentifier()):
        raise MgkitError(f"{called}: name is {name!r}; use letters, digits and underscores.")
    given = []
    order = [*(key for key in known if key in settings), *(key for key in settings if key not in known)]
    for key in order:
        value = settings[key]
        default = known[key].default if key in known else None
        if isinstance(default, Part) and isinstance(value, str) and ":" in value:
            value = part(value)  # from a shell: --set fusion=my_models.py:GatedSum
        value = _kept(f"{called}: {key}", value)
        _check_kind(f"{called}: {key}", value, default)
        if key not in known or value != _kept(key, default) or type(value) is not type(default):
            given.append((key, value))
    return Part(target, tuple(given), float(weight), name)


def _kept(where: str, value: Any) -> Any:
    """A setting as a part keeps it, such that JSON can hold it."""
    if isinstance(value, tuple | list):
        return tuple(_kept(where, item) for item in value)
    if isinstance(value, Mapping):
        return {str(key): _kept(where, item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()
    if (
        value is None
        or isinstance(value, bool | int | float | str | Part)
        or value is inspect.Parameter.empty
    ):
        return value
    hint = " wrap it in mg.part(...)." if callable(value) else ""
    raise MgkitError(f"{where} is a {type(value).__name__}: use numbers, texts, lists or parts.{hint}")


def _check_kind(where: str, value: Any, default: Any) -> None:
    """Refuse texts for numbers and the like, which a shell may give; the target itself checks the rest."""
    for kinds, need in (((bool,), "true or false"), ((int, float), "a number"), ((str,), "a text")):
        if isinstance(default, kinds):
            if not isinstance(value, kinds) and value is not None:
                raise MgkitError(f"{where} is {value!r}; use {need}.")
            return
    if isinstance(default, tuple) and not isinstance(value, tuple) and value is not None:
        raise MgkitError(f"{where} is {value!r}; use a list, like {plain(default)}.")
    if isinstance(default, Part) and not isinstance(value, Part | None):
        raise MgkitError(f"{where} is {value!r}; use a part, mg.part(...), or None.")


@functools.cache
def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        found = inspect.signature(target).parameters
    except (TypeError, ValueError):
        raise MgkitError(f"{target!r} has no signature that can be read: wrap it in a function.") from None
    return {name: one for name, one in found.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)}


def _settings_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {name: one for name, one in _parameters(target).items() if name not in SUPPLIED}


# --- targets --------------------------------------------------------------------------------------------------------


def load_target(path: str) -> Any:
    """The function or class at "package.module:name" or "file.py:name".

    Raises:
        MgkitError: it cannot be imported; the message names the reason.
    """
    place, sign, name = path.rpartition(":")
    if not sign or not place or not name:
        raise MgkitError(f"{path!r} is not a part: write package.module:name or file.py:name.")
    if place.endswith(".py"):
        module = load_file(Path(place))
    else:
        try:
            module = importlib.import_module(place)
        except ImportError as error:
            raise MgkitError(f"{path!r} cannot be imported ({error}).") from None
    found: Any = module
    for word in name.split("."):
        found = getattr(found, word, None)
    if found is None:
        raise MgkitError(f"{place} has no {name!r}.")
    return found


def load_file(path: Path) -> ModuleType:
    """Import a Python file under a name that no other module has; the same content is imported once.

    Raises:
        MgkitError: there is no such file, or importing it fails.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror or error}).") from None
    path = path.resolve()
    digest = hashlib.sha256(str(path).encode() + b"\0" + content).hexdigest()
    name = f"{LOADED}{path.stem}_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look classes up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise MgkitError(f"importing {path} failed ({type(error).__name__}: {error}).") from error
    return module


def is_own(module: str) -> bool:
    """Whether a module is the user's own: neither mgkit's, nor Python's, nor an installed package's."""
    if module in ("__main__", "builtins") or module.startswith(LOADED) or module not in sys.modules:
        return True  # "builtins" is what code that was executed without a module's name calls itself
    file = getattr(sys.modules[module], "__file__", None)
    if file is None:  # compiled into Python
        return False
    path = Path(file).resolve()
    return not any(path.is_relative_to(folder) for folder in (_PACKAGE, *_installed()))


@functools.cache
def _installed() -> tuple[Path, ...]:
    """Where Python and packages are installed; asked for every part of every recipe, and slow to find out."""
    keys = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_path(key)).resolve() for key in keys})
