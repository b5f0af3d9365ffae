"""The user's own code of a recipe: collected from files and notebook cells, kept with a run, compared, and loaded.

A run folder holds in `code/` what its parts need that neither mgkit nor an installed package has. A part from a file is
that file, with the modules next to it that it imports; one that was defined in a notebook is a file made of its
definition and of everything that it uses from there. Opening a run never imports `code/`; testing it does, if the same
code is defined here, has been trained here before, or the caller allows it. `results/run/files.py` writes the folder.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import linecache
import os
import re
import symtable
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from mgkit.errors import MgkitError, counted
from mgkit.parts import LOADED, Part, is_own, load_file, load_target
from mgkit.results.run.folder import Run, load_run
from mgkit.training.recipe import Recipe

__all__ = ["collect", "differences", "digests", "load_from", "rebound", "recipe_of", "remember", "shipped"]

_FILE = re.compile(r"[\w.-]+\.py")  # of a file in code/: no folder, so that no path leads out of it
_DIFF_LINES = 60


# --- collecting -----------------------------------------------------------------------------------------------------


def collect(parts: Iterable[Part]) -> dict[str, str]:
    """The files that the user's own parts need, as {name in `code/`: text}; empty without any.

    Raises:
        MgkitError: a part cannot be kept, because it is defined inside a function, uses a live object of the notebook,
            or has no source; the message names it.
    """
    found: dict[str, str] = {}

    def add(name: str, text: str) -> None:
        if found.setdefault(name, text) != text:
            raise MgkitError(f"two files of the recipe's parts are called {name}: rename one of them.")

    for one in dict.fromkeys(part for part in parts if part.own):
        target, module = one.target, sys.modules.get(one.target.__module__)
        if "<" in target.__qualname__:
            raise MgkitError(
                f"{one.name} is defined inside another function and cannot be kept with the run: define it at the top "
                "level of the notebook or of a file, and give it what it needs as settings."
            )
        if target.__module__ == "__main__":
            text, others = _from_main(target, vars(sys.modules["__main__"]))
            _try(one.name, text, others)
            add(str(one.file), text)
        else:
            place = getattr(module, "__file__", None)
            if place is None:
                raise _without_source(target)
            text = Path(place).read_text(encoding="utf-8")
            # A module of a package is imported by its name; the copy is what it was like.
            add(one.file or f"{one.target.__module__}.py", text)
            others = _beside(Path(place), text) if one.file else {}
        for name, text in others.items():
            add(name, text)
    return found


def _beside(file: Path, text: str) -> dict[str, str]:
    """The modules in the folder of a file that it imports, and those that they import."""
    found: dict[str, str] = {}
    todo = [text]
    while todo:
        for node in ast.walk(ast.parse(todo.pop())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                if node.level:
                    raise MgkitError(
                        f"{file} imports from its package (from . import ...): give the part by its module's name, "
                        "package.module:name, or put what it needs into one file."
                    )
                names = [node.module or ""]
            for name in names:
                other = file.with_name(f"{name.partition('.')[0]}.py")
                if other.is_file() and other != file and other.name not in found:
                    found[other.name] = other.read_text(encoding="utf-8")
                    todo.append(found[other.name])
    return found


def _from_main(target: Callable[..., Any], names: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """A file that defines a function or class of `__main__` (a notebook or script) with all that it uses from there.

    Returns:
        the text, and the user's modules that it imports, {file name: text}.
    """
    imports: dict[str, None] = {}
    definitions: dict[str, str] = {}
    modules: dict[str, str] = {}
    user = target.__qualname__

    def define(name: str, value: Any) -> None:
        """Add what a name of the notebook means, after what that itself needs."""
        if name in definitions:
            return
        if isinstance(value, ModuleType):
            user_module(value)
            imports[f"import {value.__name__} as {name}" if "." in value.__name__ or name != value.__name__
                    else f"import {name}"] = None  # fmt: skip
        elif getattr(value, "__module__", None) == "__main__" and isinstance(value, FunctionType | type):
            definitions[name] = ""  # begun: those that use each other do not go round in circles
            text = _source(value)
            for other in _globals(text):
                if other in names:
                    define(other, names[other])
            alias = f"\n\n{name} = {value.__name__}" if name != value.__name__ else ""
            definitions.pop(name)
            definitions[name] = text + alias
        elif (line := _import_line(name, value)) is not None:
            user_module(sys.modules[value.__module__])
            imports[line] = None
        elif _is_plain(value):
            definitions[name] = f"{name} = {value!r}"
        else:
            raise MgkitError(
                f"{user} uses {name} of the notebook, a {type(value).__name__}, which cannot be kept with the run: "
                f"make it inside {user}, or give it as a setting."
            )

    def user_module(module: ModuleType) -> None:
        if is_own(module.__name__) and module.__file__ is not None and "." not in module.__name__:
            file = Path(module.__file__)
            modules[file.name] = file.read_text(encoding="utf-8")
            modules.update(_beside(file, modules[file.name]))

    define(target.__name__, target)
    head = '"""Collected by mgkit from the notebook or script that trained this run."""'
    blocks = [head, "\n".join(sorted(imports)), *definitions.values()]
    return "\n\n\n".join(block for block in blocks if block) + "\n", modules


def _source(value: Any) -> str:
    """The source of a function or class of `__main__`, decorators included, from the cell that it was defined in.

    `inspect.getsource` does not find classes of a notebook on Python 3.11; their methods know the cell.
    """
    plain = inspect.unwrap(value)
    functions = [plain] if isinstance(plain, FunctionType) else list(_methods(value))
    cells = [function.__code__.co_filename for function in functions]
    if isinstance(value, type):  # it may have no methods of its own: then the newest cell that defines it
        cells += [
            name for name in reversed(list(linecache.cache)) if "ipykernel" in name or "ipython" in name
        ]
        cells.append(getattr(sys.modules["__main__"], "__file__", None) or "")
    for cell in dict.fromkeys(cells):
        text = "".join(linecache.getlines(cell))
        try:
            body = ast.parse(text).body
        except SyntaxError:
            continue
        for node in reversed(body):
            kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            if isinstance(node, kinds) and node.name == value.__name__:
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise _without_source(value)


def _without_source(value: Any) -> MgkitError:
    return MgkitError(
        f"the source of {value.__qualname__} cannot be found, so it cannot be kept with the run: define it in a cell "
        "of the notebook or in a file."
    )


def _methods(value: type) -> Iterator[FunctionType]:
    for member in vars(value).values():
        member = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(member, FunctionType) and member.__qualname__.startswith(f"{value.__qualname__}."):
            yield member


def _globals(text: str) -> list[str]:
    """The names of the module that a definition uses, in the order in which it is read."""
    found: dict[str, None] = {}

    def visit(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
                found[symbol.get_name()] = None
        for child in table.get_children():
            visit(child)

    visit(symtable.symtable(text, "<part>", "exec"))
    return list(found)


def _import_line(name: str, value: Any) -> str | None:
    """The line that imports what a name means, if a module has it."""
    module = getattr(value, "__module__", None)
    if module in (None, "__main__") or module not in sys.modules or str(module).startswith(LOADED):
        return None
    for there in (getattr(value, "__name__", None), getattr(value, "_name", None), name):
        if isinstance(there, str) and getattr(sys.modules[module], there, None) is value:
            return f"from {module} import {there}" + (f" as {name}" if there != name else "")
    return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list | set | frozenset):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for pair in value.items() for item in pair)
    return value is None or type(value) in (bool, int, float, complex, str, bytes)


def _try(name: str, text: str, modules: Mapping[str, str]) -> None:
    """Run the file once, so that what it lacks is known before anything is trained."""
    if modules:
        return  # the notebook has imported them from where they are
    module = ModuleType(f"{LOADED}trial")
    sys.modules[module.__name__] = module  # where dataclasses look their module up
    try:
        exec(compile(text, f"<{name}>", "exec"), module.__dict__)
    except Exception as error:
        raise MgkitError(
            f"{name} cannot be kept with the run: collected from the notebook it fails with {type(error).__name__}: "
            f"{error}. Define it in a file, and give mg.part 'file.py:{name}'."
        ) from error
    finally:
        del sys.modules[module.__name__]


# --- keeping and comparing ------------------------------------------------------------------------------------------


def digests(files: Mapping[str, str]) -> dict[str, str]:
    """{file: SHA-256 of its text}, as config.json holds it."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}


def differences(root: Path, files: Mapping[str, str], recorded: Mapping[str, str]) -> str:
    """A unified diff from the code that a run holds to that of now; "" where nothing differs."""
    lines: list[str] = []
    now = digests(files)
    for name, text in files.items():
        if recorded.get(name) in (None, now[name]):
            continue
        path = root / "code" / name
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        lines += difflib.unified_diff(
            before.splitlines(), text.splitlines(), f"code/{name} of the run", f"{name} now", lineterm="", n=1
        )
    if len(lines) > _DIFF_LINES:
        lines = [*lines[:_DIFF_LINES], f"... and {counted(len(lines) - _DIFF_LINES, 'line')} more"]
    return "\n".join(lines)


def refuse_changes(root: Path, files: Mapping[str, str]) -> None:
    """Refuse code that has changed since a run was begun; the message shows the differences."""
    if changes := differences(root, files, load_run(root).config.get("code", {})):
        raise MgkitError(
            f"{root}: the code of this run has changed since it was begun:\n{changes}\nUndo the change, train into "
            "another folder, or resume with changed_code='accept' (--changed-code accept), which is recorded."
        )


# --- loading --------------------------------------------------------------------------------------------------------


def load_from(
    root: Path, recorded: Mapping[str, str] | None, *, run_code: bool = False
) -> Callable[[str], Any]:
    """What gives the target of a recorded part of a run: the definition of this session, or that in `code/`.

    Args:
        root: the run folder.
        recorded: {file: SHA-256} of config.json; None for whatever the folder holds.
        run_code: the caller allows to import `code/`.

    Returns:
        a function from the path of a part, "code/file.py:name" or "package.module:name", to its target.
    """

    def load(path: str) -> Any:
        if not path.startswith("code/"):
            target = load_target(path)
            if not run_code:
                _refuse_changed_module(root, path.partition(":")[0], recorded or {})
            return target
        file, _, name = path.removeprefix("code/").partition(":")
        if not _FILE.fullmatch(file) or not all(word.isidentifier() for word in name.split(".")):
            raise MgkitError(f"{root}: {path!r} is not a part of a run folder.")
        place = root / "code" / file
        try:
            text = place.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MgkitError(f"{place} cannot be read ({error}): restore it, or train again.") from None
        digest = hashlib.sha256(text.encode()).hexdigest()
        if recorded is not None and recorded.get(file) != digest:
            raise MgkitError(
                f"{place} is not the code that this run was trained with: restore it, or train again."
            )
        found, changed = _of_this_session(file, name, text)
        if found is not None:
            return found
        allow = "allow the copy in its folder to be run, run_code=True (--run-code)."
        if changed and not run_code:
            raise MgkitError(
                f"{root}: {name} of this session is not the one that this run was trained with:\n{changed}\n"
                f"Run the cell as it was, or {allow}"
            )
        if not run_code and digest not in _trained_here():
            raise MgkitError(
                f"{root}: the run has code of its own, {place} (SHA-256 {digest}). Look at it, then {allow}"
            )
        return _from_file(place, name)

    return load


def _refuse_changed_module(root: Path, module: str, recorded: Mapping[str, str]) -> None:
    """Refuse a module of the user's package that has changed since a run was trained."""
    name, file = f"{module}.py", getattr(sys.modules.get(module), "__file__", None)
    if name not in recorded or file is None:
        return
    if changes := differences(root, {name: Path(file).read_text(encoding="utf-8")}, recorded):
        raise MgkitError(
            f"{root}: {module} has changed since this run was trained:\n{changes}\nUndo the change, or use the module "
            "as it is, run_code=True (--run-code)."
        )


def _of_this_session(file: str, name: str, text: str) -> tuple[Any, str]:
    """The target that this session defines with the same source; else None and how the source of its own differs."""
    changed = ""
    for module in [sys.modules.get("__main__"), *list(sys.modules.values())]:
        first, *rest = name.split(".")
        found = getattr(module, "__dict__", {}).get(first)
        for word in rest:
            found = getattr(found, word, None)
        if not isinstance(found, FunctionType | type) or not is_own(found.__module__):
            continue
        if found.__module__ != getattr(module, "__name__", None):
            continue
        one = Part(found)
        try:
            mine = collect([one]).get(one.file or "")
        except (MgkitError, OSError):
            continue
        if one.file != file or mine is None:
            continue
        if mine == text:
            return found, ""
        if found.__module__ == "__main__":
            lines = text.splitlines(), mine.splitlines()
            changed = "\n".join(difflib.unified_diff(*lines, "the run's", "this session's", lineterm="", n=1))
    return None, changed


def _from_file(place: Path, name: str) -> Any:
    """Import a file of `code/`, whose other files it may import by their names, and give what it defines."""
    beside = [path.stem for path in place.parent.glob("*.py") if path != place]
    hidden = {stem: sys.modules.pop(stem) for stem in beside if stem in sys.modules}
    sys.path.insert(0, str(place.parent))
    try:
        found: Any = load_file(place)
    finally:
        sys.path.remove(str(place.parent))
        for stem in beside:
            sys.modules.pop(stem, None)
        sys.modules.update(hidden)
    for word in name.split("."):
        found = getattr(found, word, None)
    if found is None:
        raise MgkitError(f"{place} does not define {name}.")
    return found


def rebound(parts: Iterable[Part], root: Path) -> tuple[Part, ...]:
    """The same parts with targets from `code/`, where other processes can import them from."""
    return tuple(
        Part(_from_file(root / "code" / one.file, one.target.__qualname__), one.given, one.weight, one.label)
        if one.own and one.file
        else one
        for one in parts
    )


def remember(files: Mapping[str, str]) -> None:
    """Note that this user has trained with this code, so that it may be run again without being asked."""
    path, new = _store(), set(digests(files).values()) - _trained_here()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{digest}\n" for digest in sorted(new))
    except OSError:  # then the caller is asked
        pass


def _trained_here() -> frozenset[str]:
    try:
        return frozenset(_store().read_text(encoding="utf-8").split())
    except OSError:
        return frozenset()


def _store() -> Path:
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mgkit" / "code-trained-here.txt"
    )


def recipe_of(run: Run, *, run_code: bool = False) -> Recipe:
    """The recipe of a run; parts that are the user's own come from this session or from the run's `code/`.

    Raises:
        MgkitError: it has code of its own that is not defined here, has not been trained here, and is not allowed.
    """
    load = load_from(run.root, run.config.get("code", {}), run_code=run_code)
    return Recipe.from_dict(run.recipe, str(run.root / "config.json"), load)


def shipped(parts: Iterable[Part]) -> dict[str, str]:
    """{path of a part: SHA-256 of its module's file}, of the parts that mgkit and installed packages have."""
    found = {}
    for one in parts:
        file = getattr(sys.modules.get(one.target.__module__), "__file__", None)
        if not one.own and file is not None:
            found[one.path] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return found
