"""Every notebook runs from top to bottom on a small embedded dataset, and its .ipynb is that of its script."""

from __future__ import annotations

import ast
import base64
import io
import re
import runpy
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from mgkit.data.clips import Clips
from mgkit.data.splits import UNUSED
from mgkit.demo.dataset import DEMO_CLASSES
from mgkit.results.run.folder import Run

ROOT = Path(__file__).resolve().parents[1]
TOOL = runpy.run_path(str(ROOT / "tools" / "notebooks.py"))
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
EACH = pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)


def test_there_are_notebooks() -> None:
    assert len(SCRIPTS) >= 8
    assert len({script.stem[:2] for script in SCRIPTS}) == len(SCRIPTS)


@cache
def read(script: Path) -> NotebookNode:
    """A notebook, read once for all tests, which leave it as it is."""
    return jupytext.read(script)


def cells(notebook: NotebookNode, tag: str) -> list[str]:
    """The text of the cells with a tag."""
    return [cell.source for cell in notebook.cells if tag in cell.metadata.get("tags", ())]


@EACH
def test_each_begins_alike(script: Path) -> None:
    """Title, picture of what comes out, run time; the first cell that works anywhere; one path that decides."""
    title = read(script).cells[0].source
    assert title.startswith(f"# {int(script.stem[:2])} · ")
    (picture,) = re.findall(r"!\[.+\]\((\.\./docs/images/notebooks/.+\.png)\)", title)
    assert Path(picture).stem == script.stem
    path = (script.parent / picture).resolve()
    assert path.is_file(), f"run `make notebooks`: {picture} is not there"
    assert path.stat().st_size <= TOOL["PICTURE_BYTES"]
    assert "| 2 CPU cores | GPU |" in title
    assert cells(read(script), "setup") == cells(read(SCRIPTS[0]), "setup")
    (parameters,) = cells(read(script), "parameters")
    paths = [line for line in parameters.splitlines() if '"../' in line]
    assert len(paths) == 1
    assert paths[0].startswith("DATA = ")


@EACH
def test_links_lead_somewhere(script: Path) -> None:
    for cell in read(script).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#:]+)\)", cell.source):
                assert (script.parent / target).is_file(), target


@EACH
def test_code_names_no_class_of_the_embedded_data(script: Path) -> None:
    """Code with a class name in it runs on the embedded data only."""
    code = [cell.source for cell in read(script).cells if cell.cell_type == "code"]
    for name in DEMO_CLASSES:
        assert not [source for source in code if f'"{name}"' in source], name


def test_the_repository_is_named_everywhere_by_one_call(tmp_path: Path) -> None:
    for script in SCRIPTS[:2]:
        shutil.copy(script, tmp_path)
        shutil.copy(script.with_suffix(".ipynb"), tmp_path)
    for owner in ("first", "second"):  # another address takes the place of the one before
        TOOL["name_repository"](tmp_path, f"https://github.com/{owner}/mgkit.git")
        for script in sorted(tmp_path.glob("*.py")):
            assert TOOL["in_step"](script)
            (setup,) = cells(jupytext.read(script), "setup")
            assert f'MGKIT = "git+https://github.com/{owner}/mgkit"' in setup
            ast.parse(setup)
            titles = [c.source for c in jupytext.read(script).cells if TOOL["BADGE"] in c.source]
            assert len(titles) == 1
            address = f"github/{owner}/mgkit/blob/main/notebooks/{script.stem}.ipynb"
            assert [line.endswith(f"{address})") for line in titles[0].splitlines()[:3]] == [
                False,
                False,
                True,
            ]
    with pytest.raises(SystemExit, match="no address"):
        TOOL["name_repository"](tmp_path, "mgkit")


@pytest.mark.parametrize(("seeds", "rows"), [(5, 11), (3, 9)])
def test_the_kept_results_of_the_ablation_are_those_of_its_page(seeds: int, rows: int) -> None:
    """Top-1 with its interval and the gain on laterals, of the embedded data and of real clips."""
    notebook = read(ROOT / "notebooks" / "09_ablation.py")
    (code,) = [cell.source for cell in notebook.cells if "KEPT = {" in cell.source]
    text = code[code.index(f": {seeds} seeds") :].split('"""')[1]
    kept = [line.split(",") for line in text.strip().splitlines()[1:]]
    page = (ROOT / "docs" / "ablation.md").read_text(encoding="utf-8")
    table = page[page.index(f"| {seeds} seeds | Top-1 |") :].split("\n\n")[0].splitlines()
    heads = [cell.strip() for cell in table[0].split("|")]
    expected = []
    for line in table[2:]:
        cells = dict(zip(heads, [cell.strip() for cell in line.split("|")], strict=True))
        gain = re.match(r"[+-]\d+\.\d", cells["gain on laterals"])
        expected.append(
            [cells[f"{seeds} seeds"], *re.findall(r"\d+\.\d", cells["Top-1"]), gain[0] if gain else ""]
        )
    assert len(kept) == rows
    assert kept == expected


@pytest.mark.slow
def test_pictures_are_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "PNG")
    data = {"image/png": base64.b64encode(content.getvalue()).decode()}
    shown = nbformat.v4.new_output("display_data", data)
    tagged = nbformat.v4.new_code_cell("x", outputs=[shown], metadata={"tags": ["picture"]})
    notebook = nbformat.v4.new_notebook(cells=[tagged])
    small = TOOL["picture"](notebook)
    assert len(small) <= TOOL["PICTURE_BYTES"]
    assert Image.open(io.BytesIO(small)).size[0] > 100
    url = f"data:image/png;base64,{data['image/png']}"  # what stands in the place of a widget
    shown.data = {"text/html": f'<img src="{url}">'}
    assert TOOL["picture"](notebook) == small
    tagged.metadata["tags"] = []
    assert TOOL["picture"](notebook) is None


@EACH
def test_notebook_and_script_are_in_step(script: Path) -> None:
    assert TOOL["in_step"](script), f"run `make notebooks`: {script.name} and its .ipynb differ"


def test_what_is_of_one_machine_or_one_run_is_not_kept() -> None:
    """The folder of the checkout, addresses of objects, random ids."""
    data = {
        "text/plain": f"<Run object at 0x7F3f of {ROOT}/runs>",
        "text/html": f"<b>{ROOT}</b>",
        "text/markdown": f"{ROOT}-old /else{ROOT}/x",
    }
    plain = nbformat.v4.new_output("execute_result", data)
    printed = nbformat.v4.new_output("stream", name="stdout", text=f"made in {ROOT}/data/ablation\n")
    cell = nbformat.v4.new_code_cell("x", outputs=[plain, printed])
    (tidied,) = TOOL["tidy"](nbformat.v4.new_notebook(cells=[cell])).cells
    assert tidied.id == "cell-1"
    assert tidied.outputs[0].data == {
        "text/plain": "<Run object of ../runs>",
        "text/html": "<b>..</b>",
        "text/markdown": f"{ROOT}-old /else{ROOT}/x",
    }
    assert tidied.outputs[1].text == "made in ../data/ablation\n"


@EACH
def test_committed_outputs_are_small_and_without_errors(script: Path) -> None:
    path = script.with_suffix(".ipynb")
    assert path.stat().st_size < 1_500_000
    notebook = nbformat.read(path, as_version=4)
    assert [cell.id for cell in notebook.cells] == [f"cell-{i + 1}" for i in range(len(notebook.cells))]
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]


@EACH
def test_only_the_public_api_is_imported(script: Path) -> None:
    code = "\n".join(c.source for c in read(script).cells if c.cell_type == "code")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("mgkit")
        if isinstance(node, ast.Import):
            assert not [a.name for a in node.names if a.name.startswith("mgkit.")]


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One for all notebooks: importing and compiling takes longer than most of them."""
    client = NotebookClient(
        nbformat.v4.new_notebook(), resources={"metadata": {"path": str(SCRIPTS[0].parent)}}
    )
    manager = client.create_kernel_manager()
    client.start_new_kernel()
    yield manager
    client._cleanup_kernel()


@pytest.fixture(scope="module")
def few_clips(demo_clips: Clips) -> Clips:
    """The first of each class in each split, for notebooks that train networks."""
    table = demo_clips.table
    used = ~table.duplicated(["split", "label"])
    clips = demo_clips.with_splits(table["split"].where(used, UNUSED).tolist(), "few")
    clips.save_splits()
    return clips


@pytest.mark.slow
@EACH
def test_notebook_runs(
    script: Path, demo_clips: Clips, few_clips: Clips, demo_run: Run, tmp_path: Path, kernel: KernelManager
) -> None:
    (given,) = cells(read(script), "parameters")
    seeds, epochs = "SEEDS = " in given, "EPOCHS = " in given
    parameters: dict[str, Any] = {"DATA": str(few_clips.path if seeds or epochs else demo_clips.root)}
    if "MINUTES = " in given:  # it draws recordings and trains on them
        folder = tmp_path / "drawn-interviews"
        parameters = {"DATA": str(folder), "RUN": str(tmp_path / "run"), "STEPS": 10, "MINUTES": 0.3}
    elif "STEPS = " in given:
        parameters["RUN"] = str(tmp_path / "run")
    elif epochs:  # it trains
        parameters |= {"EPOCHS": 1, "RUN": str(tmp_path / "run")}
    elif "RUN = " in given:
        text, root = script.read_text(encoding="utf-8"), demo_run.root
        writes = "mg.test(" in text or "ErrorExplorer(" in text
        # beside it: a run finds its clips by the way to them
        parameters["RUN"] = str(
            shutil.copytree(root, root.with_name(f"demo-{script.stem}")) if writes else root
        )
    if seeds:  # the cells on several seeds are run on made trainings, in test_notebooks_data.py
        parameters["SEEDS"] = 1
    if "TRAIN = " in given:
        parameters["TRAIN"] = True
    if "STEPS = " in given:
        parameters["STEPS"] = 10
    if "VIEWS = " in given:
        parameters["VIEWS"] = 2
    TOOL["run"](script, parameters, kernel=kernel)
