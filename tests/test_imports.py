"""Who may import whom (docs/architecture.md), and that `import mgkit` is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mgkit"
BASE = {"errors", "files", "progress", "pickles", "parallel"}
ALLOWED = {
    "data": {"data"},
    "demo": {"demo", "data", "results", "training"},
    "models": {"models"},
    "results": {"results", "data"},
    "training": {"training", "data", "models", "results"},
    "views": {"views", "results", "data"},
}


def _imports(path: Path) -> set[str]:
    """Rooms of mgkit that a file imports, at any depth of it."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module] if node.module != "mgkit" else [f"mgkit.{alias.name}" for alias in node.names]
            )
        rooms |= {name.split(".")[1] for name in names if name.startswith("mgkit.")}
    return rooms


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_they_may(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        foreign = _imports(path) - ALLOWED[room] - BASE
        assert not foreign, f"{path.relative_to(PACKAGE)} imports {foreign}"


RESULTS = ("run", "stats", "scores", "compare", "ensembles")  # each may import those before it


@pytest.mark.parametrize("place", range(len(RESULTS)))
def test_results_import_in_one_order(place: int) -> None:
    later = RESULTS[place + 1 :]
    for path in (PACKAGE / "results" / RESULTS[place]).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found = [
            name
            for name in later
            if f"mgkit.results.{name}" in text or f"mgkit.results import {name}" in text
        ]
        assert not found, f"{path.relative_to(PACKAGE)} imports {found}"


def test_results_and_views_do_without_torch() -> None:
    code = (
        "import sys, mgkit.results.run.folder, mgkit.results.stats.metrics, mgkit.views.figures, mgkit.views.analysis, "
        "mgkit.views.widgets\n"
    )
    code += "assert 'torch' not in sys.modules and 'umap' not in sys.modules, 'heavy import'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_mgkit_loads_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "matplotlib", "sklearn", "umap", "cv2", "av", "decord")
    code = (
        f"import sys, mgkit\nloaded = [n for n in {heavy!r} if n in sys.modules]\nassert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_loads() -> None:
    import mgkit

    for name in mgkit.__all__:
        assert getattr(mgkit, name) is not None
    for module in (mgkit.ensembles, mgkit.scores, mgkit.calibration, mgkit.published, mgkit.submission):
        assert all(callable(getattr(module, name)) for name in module.__all__ if not name.isupper())
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mgkit.nonsense
