"""The widgets in JupyterLab: a click reaches the kernel and every linked view, and a page that is reloaded goes on."""

from __future__ import annotations

import math
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Page

from tests.browser.lab import Lab, Notebook
from tests.results.fake_run import fake_clips, fake_run
from tests.views.widgets.conftest import FUSED, POSE, RGB, made_run

pytestmark = pytest.mark.slow


def pixels(notebook: Notebook, cell: int, colour: str) -> int:
    """How many pixels of this colour the canvas of a cell has."""
    return (
        notebook.cell(cell)
        .locator("canvas")
        .evaluate(
            """(canvas, colour) => {
            const wanted = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16));
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            let count = 0;
            for (let i = 0; i < pixels.length; i += 4) count += wanted.every((value, k) => pixels[i + k] === value);
            return count;
        }""",
            colour,
        )
    )


def cell_of(notebook: Notebook, row: int, column: int) -> dict[str, float]:
    box = notebook.cell(1).locator("canvas").evaluate("canvas => ({...canvas.dataset})")
    left, top, size = (float(box[name]) for name in ("left", "top", "cell"))
    return {"x": left + (column + 0.5) * size, "y": top + (row + 0.5) * size}


def test_linked_widgets_in_jupyterlab(lab: Lab, page: Page, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", {"rgb": RGB, "pose": POSE, "fused": FUSED})
    cells = [
        f"import mgkit as mg; run = mg.load_run({str(run.root)!r}); selection = mg.widgets.Selection()",
        "matrix = mg.widgets.ConfusionMatrix(run, selection=selection, order='given'); matrix",
        "bars = mg.widgets.ClassAccuracy(run, selection=selection); bars",
    ]
    with Notebook(lab, page, cells, "linked.ipynb") as notebook:
        notebook.run_all()
        matrix, bars = notebook.cell(1), notebook.cell(2)
        matrix.locator("canvas").wait_for()
        bars.locator("canvas").wait_for()

        # A click in one view is in the kernel, and the other view is told.
        matrix.locator("canvas").click(position=cell_of(notebook, 0, 1))
        assert notebook.until("list(selection)") == ["c3"]
        assert notebook.evaluate("selection.source") == "ConfusionMatrix"
        bars.get_by_text("rub hands predicted as touch chin (Fused) · 1 clip").wait_for()

        # Keys belong to the widget: the notebook's own shortcuts stay out of it.
        active = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
        matrix.locator("canvas").focus()
        before = page.evaluate(active)
        for key in (
            "ArrowDown",
            "ArrowLeft",
            "Enter",
        ):  # from the cell that was clicked to the one below at the left
            page.keyboard.press(key)
        notebook.until("list(selection) == ['c7']")
        assert page.evaluate(active) == before

        # Python selects, both views mark it.
        notebook.execute("selection.set(['c7', 'c0'], focus='c7', description='from Python')")
        for cell in (matrix, bars):
            cell.get_by_text("from Python · 2 clips · in focus: c7").wait_for()
        page.wait_for_timeout(200)
        assert pixels(notebook, 1, "#e69f00") > 20
        assert pixels(notebook, 2, "#e69f00") > 20

        # The theme.
        assert pixels(notebook, 1, "#ffffff") > 1000
        notebook.theme("JupyterLab Dark")
        page.wait_for_function(
            "getComputedStyle(document.querySelector('.mgk')).backgroundColor === 'rgb(17, 17, 17)'"
        )
        page.wait_for_timeout(300)
        assert pixels(notebook, 1, "#ffffff") < 1000
        assert pixels(notebook, 1, "#111111") > 1000
        notebook.theme("JupyterLab Light")

        # A reloaded page shows what the kernel holds, and is linked to it again.
        notebook.reload()
        matrix.get_by_text("from Python · 2 clips · in focus: c7").wait_for()
        matrix.locator("canvas").click(position=cell_of(notebook, 0, 0))
        notebook.until("list(selection) == ['c0', 'c1', 'c2']")
        assert not [line for line in notebook.console if line.startswith("page error")], notebook.console


def test_a_comparison_in_jupyterlab(lab: Lab, page: Page, tmp_path: Path) -> None:
    one = made_run(tmp_path / "one", {"fused": [1, 0, 0, 2, 1, 0, 1, 1]})
    other = made_run(tmp_path / "other", {"rgb": RGB, "pose": POSE, "fused": FUSED})
    cells = [
        f"import mgkit as mg; one, other = mg.load_run({str(one.root)!r}), mg.load_run({str(other.root)!r})",
        "compared = mg.widgets.RunComparison(one, other); compared",
        "matrix = compared.confusion(); matrix",
    ]
    with Notebook(lab, page, cells, "compared.ipynb") as notebook:
        notebook.run_all()
        compared, matrix = notebook.cell(1), notebook.cell(2)
        compared.locator(".mgk-half[data-place='0 fixed']").click()
        assert notebook.until("list(compared.selection)") == ["c0"]
        matrix.get_by_text("clips of rub hands fixed by other · 1 clip").wait_for()
        compared.locator(".mgk-four [data-fate=broken]").click()
        notebook.until("list(compared.selection) == ['c7']")
        notebook.reload()
        compared.locator(".mgk-four [data-fate=broken].mgk-held").wait_for()
        assert not [line for line in notebook.console if line.startswith("page error")], notebook.console


def test_map_in_jupyterlab(lab: Lab, page: Page, tmp_path: Path) -> None:
    # Eleven points and fewer are laid out without UMAP, whose compilation takes longer than all the rest.
    clips = fake_clips(tmp_path / "clips", 2, 16)
    few = clips.select([*clips.split("train").ids, *clips.split("test").ids[:8]])
    run = fake_run(tmp_path / "run", few, epochs=2, splits=("test",))
    cells = [
        f"import mgkit as mg; run = mg.load_run({str(run.root)!r}); selection = mg.widgets.Selection()",
        "map = mg.widgets.PrototypeMap(run, selection=selection); map",
        "bars = mg.widgets.ClassAccuracy(run, selection=selection); bars",
    ]
    with Notebook(lab, page, cells, "map.ipynb") as notebook:
        notebook.run_all()
        canvas = notebook.cell(1).locator(".mgk-stage canvas")
        canvas.wait_for()
        notebook.cell(2).locator("canvas").wait_for()
        ids = notebook.evaluate("map.predictions.clip_ids")

        points = notebook.evaluate("map._map.points.tolist()")

        def places() -> list[tuple[float, float]]:
            at = canvas.evaluate("canvas => ({...canvas.dataset})")
            x, y, scale = (float(at[name]) for name in ("x", "y", "scale"))
            return [(x + scale * a, y - scale * b) for a, b in points]

        def gap(row: int) -> float:
            """How far a clip is from the next one or star."""
            every = [*points[:row], *points[row + 1 :], *notebook.evaluate("map._map.prototypes.tolist()")]
            return min(math.dist(points[row], other) for other in every)

        row = max(range(len(ids)), key=gap)
        x, y = places()[row]
        canvas.click(position={"x": x, "y": y})
        assert notebook.until("list(selection)") == [ids[row]]
        assert notebook.evaluate("[selection.focus, selection.source]") == [ids[row], "PrototypeMap"]
        notebook.cell(2).get_by_text(f"clip {ids[row]} · in focus").wait_for()

        # A loop around the left half.
        spots = places()
        xs = sorted(a for a, _ in spots)
        cut = (xs[3] + xs[4]) / 2
        box = canvas.bounding_box()
        assert box is not None
        top, bottom = min(b for _, b in spots) - 9, max(b for _, b in spots) + 9
        route = [(xs[0] - 9, top), (cut, top), (cut, bottom), (xs[0] - 9, bottom)]
        for i, (a, b) in enumerate(route):
            page.mouse.move(box["x"] + 1 + a, box["y"] + 1 + b, steps=1 if i == 0 else 6)
            if i == 0:
                page.mouse.down()
        page.mouse.up()
        notebook.until("len(selection) == 4")
        left = sorted(ids[i] for i, (a, _) in enumerate(spots) if a < cut)
        assert notebook.evaluate("sorted(selection)") == left
        notebook.cell(2).get_by_text("lasso on the RGB map · 4 clips").wait_for()

        # A reloaded page shows what the kernel holds, and is linked to it again.
        notebook.reload()
        notebook.cell(1).get_by_text("lasso on the RGB map · 4 clips").wait_for()
        canvas.click(position={"x": x, "y": y})
        notebook.until(f"selection.focus == {ids[row]!r}")
        assert not [line for line in notebook.console if line.startswith("page error")], notebook.console


def test_a_saved_notebook_shows_the_picture_where_no_kernel_has_the_widget(
    lab: Lab, page: Page, browser: Browser, tmp_path: Path
) -> None:
    run = made_run(tmp_path / "run", {"rgb": RGB, "pose": POSE, "fused": FUSED})
    cells = [
        f"import mgkit as mg; run = mg.load_run({str(run.root)!r})",
        "mg.widgets.ConfusionMatrix(run)",
        "mg.widgets.ErrorExplorer(run)",
    ]
    with Notebook(lab, page, cells, "saved.ipynb") as notebook:
        notebook.run_all()
        notebook.cell(2).locator(".mgk-gallery").wait_for()
        pictures, widgets = page.locator(".mgk-static"), page.locator(".jp-Cell .mgk canvas")
        widgets.first.wait_for()
        assert [picture.is_visible() for picture in pictures.all()] == [False, False]

        session = "window.jupyterapp.shell.currentWidget.sessionContext"
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
        page.evaluate(f"() => {session}.shutdown().then(() => null)")
        page.reload(wait_until="domcontentloaded")
        page.get_by_text("model not found").nth(1).wait_for(state="attached")  # a new kernel has no widget
        assert [picture.is_visible() for picture in pictures.all()] == [True, True]
        assert pictures.first.locator("img").evaluate("image => image.naturalWidth") > 100
        assert not [text for text in page.get_by_text("model not found").all() if text.is_visible()]

    # Elsewhere: the first output has the picture, the second nothing that a page without widgets can show.
    saved = nbformat.read(lab.notebooks / "saved.ipynb", as_version=4)
    for cell in saved.cells[1:]:
        first, second = (set(out["data"]) for out in cell.outputs)
        assert first == {"text/plain", "text/html"}
        assert second == {"application/vnd.jupyter.widget-view+json"}
    # A page that nbconvert makes has a script in place of the widget, which may find none.
    saved.metadata.pop("widgets", None)
    (tmp_path / "saved.html").write_text(HTMLExporter().from_notebook_node(saved)[0], encoding="utf-8")
    exported_page = browser.new_page(offline=True)
    exported_page.goto((tmp_path / "saved.html").as_uri(), wait_until="domcontentloaded")
    assert [image.is_visible() for image in exported_page.locator(".mgk-static img").all()] == [True, True]
    exported_page.close()
    exported, _ = HTMLExporter(template_name="classic").from_notebook_node(saved)
    assert exported.count("Static preview of") == 2
    assert "widget-view" not in exported
