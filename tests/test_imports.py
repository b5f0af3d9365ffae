"""Who may import whom (docs/architecture.md), and that `import mgkit` is quick."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mgkit"
BASE = {"errors", "files", "progress", "pickles", "parallel", "parts", "settings"}
ALLOWED = {
    "data": {"data"},
    "demo": {"demo", "data", "results", "training", "notebook"},
    "models": {"models"},
    "pose": {"pose", "data"},
    "results": {"results", "data"},
    "training": {"training", "data", "models", "results", "pose"},
    "views": {"views", "results", "data", "notebook"},
}

# Within a folder: a file or folder imports from its own level and those before it.
LEVELS = {
    "data": [
        {"table", "skeletons", "keypoints", "splits", "ledger", "video", "word_vectors"},
        {"report", "body"},
        {"faces"},
        {"clips"},
        {"readers", "batches"},
        {"prepare"},
    ],
    "results": [{"run"}, {"stats"}, {"scores"}, {"compare"}, {"ensembles"}],
}


def _names(path: Path) -> set[str]:
    """Modules of mgkit that a file imports, at any depth of it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name for name in names if name.startswith("mgkit.")}
    return found


def _imports(path: Path) -> set[str]:
    """Top folders and files of mgkit that a file imports."""
    return {name.split(".")[1] for name in _names(path)}


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_they_may(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        foreign = _imports(path) - ALLOWED[room] - BASE
        assert not foreign, f"{path.relative_to(PACKAGE)} imports {foreign}"


@pytest.mark.parametrize("folder", LEVELS)
def test_files_of_a_folder_import_only_from_below(folder: str) -> None:
    level = {name: i for i, names in enumerate(LEVELS[folder]) for name in names}
    for path in (PACKAGE / folder).rglob("*.py"):
        own = path.relative_to(PACKAGE / folder).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in _names(path):
            parts = name.split(".")
            if parts[1] == folder and len(parts) > 2:
                assert level[parts[2]] <= level[own], f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.slow
def test_results_and_views_do_without_torch() -> None:
    code = (
        "import sys, mgkit.data.batches.samplers, mgkit.results.run.folder, mgkit.results.stats.metrics, "
        "mgkit.views.figures, mgkit.views.analysis, mgkit.views.widgets\n"
    )
    code += "assert 'torch' not in sys.modules and 'umap' not in sys.modules, 'heavy import'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_mgkit_loads_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "matplotlib", "sklearn", "umap", "cv2", "av", "decord", "transformers")
    code = (
        f"import sys, mgkit\nloaded = [n for n in {heavy!r} if n in sys.modules]\nassert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_who_has_skeletons_loads_no_estimator() -> None:
    code = """import sys, mgkit as mg
mg.prepare, mg.train, mg.test, mg.evaluate, mg.predict, mg.spotting, mg.widgets.ClipPlayer, mg.figures.prediction
loaded = [name for name in sys.modules if name.startswith(("mgkit.pose", "mediapipe", "onnxruntime"))]
assert not loaded, loaded"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_list_of_commands_waits_for_nothing_heavy() -> None:
    code = """import sys
from mgkit.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
loaded = [name for name in ("numpy", "pandas", "torch") if name in sys.modules]
assert not loaded, loaded"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_pages_and_notebooks_name_what_there_is() -> None:
    """Every `mg.x` and `mg.x.y` of the README, the docs and the notebooks exists, and nothing is imported otherwise."""
    import mgkit

    root = PACKAGE.parent
    pages = [root / "README.md", *(root / "docs").glob("*.md"), *(root / "notebooks").glob("*.py")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "from mgkit import" not in text, page.name
        for name, inner in re.findall(r"\bmg\.(\w+)(?:\.(\w+))?", text):
            value = getattr(mgkit, name, None)
            assert value is not None, f"{page.name}: mg.{name}"
            if inner and inspect.ismodule(value):
                assert hasattr(value, inner), f"{page.name}: mg.{name}.{inner}"


def test_the_public_names_are_those_that_the_architecture_page_lists() -> None:
    import mgkit

    page = (PACKAGE.parent / "docs/architecture.md").read_text(encoding="utf-8")
    section = page.split("## Public names")[1].split("\n## ")[0]
    listed = [word for words in re.findall(r"`([a-zA-Z_\s]+)`", section) for word in words.split()]
    assert sorted(listed) == sorted(set(mgkit.__all__) - {"__version__"})


def test_every_public_name_loads() -> None:
    import mgkit

    for name in mgkit.__all__:
        assert getattr(mgkit, name) is not None
    modules = (
        mgkit.demo, mgkit.ensembles, mgkit.scores, mgkit.scores.submission, mgkit.calibration, mgkit.published,
        mgkit.spotting,
    )  # fmt: skip
    for module in modules:
        assert all(
            callable(getattr(module, name))
            for name in module.__all__
            if name != "submission" and not name.isupper()
        )
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mgkit.nonsense
