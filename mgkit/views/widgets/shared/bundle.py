"""A widget's script and style sheet, put together from its files.

Jupyter hands the page one module per widget. A widget's scripts are ordinary ES modules that import each other; here
they become that one module, in the order their imports ask for: no build step, no node, and nothing to download.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]*)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) ([\w$]+))", re.MULTILINE)
_UNREAD = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def script(name: str, folder: Path = FOLDER) -> str:
    """A module with all that it imports, as one module.

    An imported file becomes a function that runs once and returns its exports, so names a file keeps to itself cannot
    clash with those of another one.

    Args:
        name: of the module, relative to `folder`. Only this one may have an `export default`.
        folder: where the modules are.

    Raises:
        ValueError: files that import each other in a circle, an import of a name that the other file does not export,
            or an import or export in another form than `import { a, b as c } from "./file.js";` and
            `export function`, `class` or `const`.
    """
    found: dict[
        Path, tuple[str, list[str]]
    ] = {}  # by file, the constant that holds its exports, and their names
    parts: list[str] = []

    def read(path: Path, trail: tuple[Path, ...]) -> tuple[str, list[str]]:
        """The text of a module without imports and exports, and what it exports."""
        if path in trail:
            raise ValueError(f"{path.name} imports itself, by way of {trail[-1].name}")

        def bind(match: re.Match[str]) -> str:
            constant, exports = add((path.parent / match[2]).resolve(), (*trail, path))
            names = [pair.split() for pair in match[1].split(",") if pair.strip()]
            if missing := [pair[0] for pair in names if pair[0] not in exports]:
                raise ValueError(f"{path.name} imports {missing[0]}, which {match[2]} does not export")
            return f"const {{ {', '.join(': '.join(pair[::2]) for pair in names)} }} = {constant};"

        text = _IMPORT.sub(bind, path.read_text(encoding="utf-8"))
        return _EXPORT.sub("", text), _EXPORT.findall(text)

    def add(path: Path, trail: tuple[Path, ...]) -> tuple[str, list[str]]:
        if path not in found:
            text, exports = read(path, trail)
            _complete(path, text)
            found[path] = f"module{len(found)}", exports
            parts.append(
                f"const {found[path][0]} = (() => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}})();"
            )
        return found[path]

    path = (folder / name).resolve()
    text, _ = read(path, ())
    _complete(path, text.replace("\nexport default ", "\n", 1))
    return "\n".join([*parts, text])


def _complete(path: Path, text: str) -> None:
    if unread := _UNREAD.search(text):
        raise ValueError(f"{path.name}: cannot bundle {unread[0]!r}")


def styles(*names: str) -> str:
    """The style sheet that all widgets share, and those of these names after it."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ("shared/widgets.css", *names))
