"""Every notebook runs from top to bottom on a small embedded dataset, and its .ipynb is that of its script."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

from mgkit.data.clips import Clips
from mgkit.results.runs import Run

ROOT = Path(__file__).resolve().parents[1]
TOOL = runpy.run_path(str(ROOT / "tools" / "notebooks.py"))
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
EACH = pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)


def test_there_are_notebooks() -> None:
    assert len(SCRIPTS) >= 5


@EACH
def test_notebook_and_script_are_in_step(script: Path) -> None:
    assert TOOL["in_step"](script), f"run `make notebooks`: {script.name} and its .ipynb differ"


@EACH
def test_committed_outputs_are_small_and_without_errors(script: Path) -> None:
    path = script.with_suffix(".ipynb")
    assert path.stat().st_size < 1_500_000
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]


@EACH
def test_only_the_public_api_is_imported(script: Path) -> None:
    code = "\n".join(c.source for c in jupytext.read(script).cells if c.cell_type == "code")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("mgkit")
        if isinstance(node, ast.Import):
            assert not [a.name for a in node.names if a.name.startswith("mgkit.")]


@EACH
def test_notebook_runs(script: Path, demo_clips: Clips, demo_run: Run, tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"DATA": str(demo_clips.root)}
    text = script.read_text(encoding="utf-8")
    if "EPOCHS = " in text:
        parameters |= {"EPOCHS": 1, "RUN": str(tmp_path / "run")}
    elif "RUN = " in text:
        parameters |= {"RUN": str(demo_run.root)}
    if "SEEDS = " in text:
        parameters |= {"SEEDS": 2}
    TOOL["run"](script, parameters)
