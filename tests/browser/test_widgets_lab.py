"""What shows in JupyterLab alone: a click reaches the kernel and every linked view, a page that is reloaded goes on,
and a training outlives its kernel.

All in one file, so that one process drives one JupyterLab and loads it once.
"""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import signal
from contextlib import closing
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, BrowserContext, Page, expect

from mgkit.data.clips import Clips
from mgkit.files import write_json
from mgkit.results.run.folder import Run
from mgkit.training import recipes
from tests.browser.lab import PATIENCE, Lab, Notebook
from tests.browser.test_player import SHOWS, SNAP
from tests.browser.test_player_saliency import TOP, bars
from tests.player_clips import explained_run, number_of, numbered_clips, numbered_run
from tests.results.fake_run import fake_clips, fake_run
from tests.tiny import tiny_clips
from tests.views.widgets.conftest import FUSED, POSE, RGB, made_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def open_page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def page(open_page: Page) -> Page:
    """The same for all, with JupyterLab from the first notebook on."""
    open_page.set_viewport_size({"width": 1280, "height": 900})
    return open_page


COUNTER = """
    import anywidget, traitlets
    class Counter(anywidget.AnyWidget):
        _esm = '''export default { render({model, el}) {
            const button = document.createElement("button");
            const put = () => { button.textContent = `n=${model.get("n")}` };
            put();
            model.on("change:n", put);
            button.onclick = () => { model.set("n", model.get("n") + 1); model.save_changes() };
            el.append(button);
        } }'''
        _css = "button { color: rgb(1, 2, 3) }"
        n = traitlets.Int(0).tag(sync=True)
    counter = Counter()
    counter
"""


def test_jupyterlab_joins_page_and_kernel(lab: Lab, page: Page) -> None:
    with Notebook(lab, page, [COUNTER], "counter.ipynb") as notebook:
        notebook.run_all()
        button = notebook.cell(0).locator("button", has_text="n=")
        button.click()
        assert notebook.until("counter.n") == 1
        notebook.execute("counter.n = 41")
        page.wait_for_function("[...document.querySelectorAll('button')].some(b => b.textContent === 'n=41')")
        button.click()
        notebook.until("counter.n == 42")
        notebook.reload()
        button.click()
        notebook.until("counter.n == 43")


def test_the_harness_can_fail(lab: Lab, page: Page) -> None:
    with Notebook(lab, page, ["got = []", "raise ValueError('boom')"], "failing.ipynb") as notebook:
        with pytest.raises(AssertionError, match="cell 1: ValueError: boom"):
            notebook.run_all()
        with pytest.raises(AssertionError, match=r"got is still \[\]"):
            notebook.until("got", seconds=0.5)
        with pytest.raises(AssertionError, match="NameError"):
            notebook.evaluate("nothing_of_that_name")
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            notebook.execute("1 / 0")


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
        notebook.keep = False
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


def picture(page: Page) -> np.ndarray:
    """(H, W, 3) what the player shows of its first clip."""
    url = page.locator(".mg-p-canvas").first.evaluate("canvas => canvas.toDataURL('image/png')")
    return cv2.imdecode(np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)


def noted(run: Path) -> dict[str, dict[str, str]]:
    with (run / "review.csv").open(encoding="utf-8", newline="") as stream:
        return {row["clip_id"]: row for row in csv.DictReader(stream)}


def test_from_a_filter_to_a_note_that_stays(lab: Lab, page: Page, tmp_path: Path) -> None:
    clips = numbered_clips(tmp_path / "clips", copies=3)
    run = numbered_run(tmp_path / "run", clips).root
    page.set_viewport_size({"width": 1366, "height": 768})
    cells = [
        f"import mgkit as mg; run = mg.load_run({str(run)!r})",
        "explorer = mg.widgets.ErrorExplorer(run); explorer",
    ]
    with Notebook(lab, page, cells, "explorer.ipynb") as notebook:
        notebook.run_all()
        explorer = notebook.cell(1).locator(".mgk-explorer")
        explorer.locator(".mgk-card img").first.wait_for()
        assert notebook.evaluate("list(explorer.selection)") == ["a"], "the only clip that is wrong"
        page.wait_for_function(SHOWS, arg=["a", "0"])
        box = explorer.bounding_box()
        assert box is not None
        assert box["height"] <= 660, "it fits the screen of a laptop"
        assert explorer.evaluate("root => root.scrollWidth <= root.clientWidth + 1")

        # Filter, then a click on a picture: that clip in the kernel, and in the player.
        explorer.get_by_role("button", name="All", exact=True).click()
        notebook.until("len(explorer.selection) == 12")
        explorer.get_by_label("Class", exact=True).select_option("red moving")
        notebook.until("explorer.filters.label == 1 and len(explorer.selection) == 9")
        explorer.locator(".mgk-card[data-clip=b1] img").wait_for()
        explorer.locator(".mgk-card[data-clip=b1]").click()
        notebook.until("explorer.clip_id == 'b1'")
        page.wait_for_function(SHOWS, arg=["b1", "0"])
        explorer.get_by_title("One frame forward").click()
        explorer.get_by_title("One frame forward").click()
        page.wait_for_function(SHOWS, arg=["b1", "2"])
        assert number_of(picture(page)) == 2
        notebook.until("explorer.player.frame == 2")

        # A cell of the matrix, and the next clip by key.
        canvas = explorer.locator(".mgk-x-views canvas")
        where = canvas.evaluate("canvas => ({...canvas.dataset})")
        left, top, size = (float(where[name]) for name in ("left", "top", "cell"))
        canvas.click(position={"x": left + 1.5 * size, "y": top + 1.5 * size})
        right = notebook.until("len(explorer.selection) == 8 and list(explorer.selection)")
        explorer.get_by_text("TP of red moving (Fused)").first.wait_for()
        explorer.locator(".mgk-cards").focus()
        page.keyboard.press("n")
        following = right[(right.index("b1") + 1) % len(right)]
        notebook.until(f"explorer.clip_id == {following!r}")
        page.wait_for_function(SHOWS, arg=[following, "0"])
        page.keyboard.press("p")
        notebook.until("explorer.clip_id == 'b1'")

        # A note: by click, by key, and in words; in the file at once.
        explorer.get_by_role("button", name="occluded").click()
        notebook.until("explorer.notes.get('b1') is not None")
        assert noted(run)["b1"]["tags"] == "occluded"
        page.keyboard.press("2")
        notebook.until("explorer.notes['b1'].tags == ('ambiguous', 'occluded')")
        page.keyboard.press("t")
        page.keyboard.type("nobody moves, 1 hand")
        page.keyboard.press("Enter")
        notebook.until("explorer.notes['b1'].text == 'nobody moves, 1 hand'")
        assert noted(run)["b1"]["note"] == "nobody moves, 1 hand"
        expect(explorer.locator(".mgk-card[data-clip=b1] .mgk-noted")).to_have_text("✎ 2")

        # The list of notes, and the file to take along.
        explorer.get_by_role("tab", name="Notes (1)").click()
        expect(explorer.locator(".mgk-noted-list button")).to_have_attribute("data-clip", "b1")
        with page.expect_download() as download:
            explorer.get_by_role("button", name="Download CSV").click()
        assert Path(download.value.path()).read_bytes() == (run / "review.csv").read_bytes()
        explorer.get_by_role("tab", name="Confusion").click()

        # Keys stay in the explorer: no cell was cut, added or left.
        assert page.locator(".jp-Cell").count() == 2

        # The page is reloaded: everything is as it was, and still linked to the kernel.
        notebook.reload()
        explorer.locator(".mgk-card[data-clip=b1] img").wait_for()
        expect(explorer.locator("[aria-current=true]")).to_have_attribute("data-clip", "b1")
        expect(explorer.get_by_role("button", name="occluded")).to_have_attribute("aria-pressed", "true")
        expect(explorer.get_by_label("Comment")).to_have_value("nobody moves, 1 hand")
        explorer.get_by_role("button", name="occluded").click()
        notebook.until("explorer.notes['b1'].tags == ('ambiguous',)")

        # A new explorer, and another kernel for that matter, reads the notes.
        assert (
            notebook.evaluate("mg.widgets.ErrorExplorer(mg.load_run(run.root)).notes['b1'].text")
            == "nobody moves, 1 hand"
        )
        assert not [line for line in notebook.console if line.startswith("page error")], notebook.console


def test_in_jupyterlab_keys_belong_to_the_player_and_frames_are_exact(
    lab: Lab, page: Page, player_run: Run
) -> None:
    cells = [
        f"import mgkit as mg\nrun = mg.load_run({str(player_run.root)!r})\n"
        "selection = mg.widgets.Selection(['a', 'b'], 'two clips')",
        "player = mg.widgets.ClipPlayer(run, selection=selection)\nplayer",
    ]
    with Notebook(lab, page, cells, "player.ipynb") as notebook:
        notebook.run_all()
        root = page.locator(".mg-player")
        root.wait_for()
        page.wait_for_function(SHOWS, arg=["a", "0"])
        root.locator(".mg-p-canvas").first.click()
        for key in (
            "ArrowRight",
            "ArrowRight",
            "x",
            "d",
            "d",
            "ArrowRight",
        ):  # x and d d would cut and delete the cell
            page.keyboard.press(key)
        page.wait_for_function(SHOWS, arg=["a", "3"])
        notebook.until("player.frame == 3")
        page.keyboard.press("n")
        page.wait_for_function(SHOWS, arg=["b", "0"])
        notebook.until("selection.focus == 'b' and selection.source == 'ClipPlayer'")
        page.keyboard.press("Shift+ArrowRight")
        page.wait_for_function(SHOWS, arg=["b", "10"])
        frame, url = page.locator(".mg-p-canvas").first.evaluate(SNAP)
        raw = np.frombuffer(base64.b64decode(url.split(",")[1]), np.uint8)
        assert number_of(cv2.imdecode(raw, cv2.IMREAD_COLOR)) == 10 == int(frame)
        assert page.locator(".jp-Cell").count() == 2
        assert page.locator(".mg-player").count() == 1


def test_in_jupyterlab_the_toggle_reaches_the_kernel_and_its_answer_the_page(
    lab: Lab, page: Page, player_clips: Clips, tmp_path: Path
) -> None:
    run = explained_run(tmp_path / "run", player_clips)
    cells = [
        f"import mgkit as mg\nplayer = mg.widgets.ClipPlayer(mg.load_run({str(run.root)!r}), 'a', frame=30)\nplayer"
    ]
    with Notebook(lab, page, cells, "saliency.ipynb") as notebook:
        notebook.run_all()
        page.locator(".mg-player").wait_for()
        assert not page.locator(".mg-p-bars").is_visible()
        page.get_by_role("button", name="Saliency").click()
        notebook.until(
            "player.saliency and player.content['panels'][0]['saliency']['pose']['frames'] == [0, 10, 20, 30]"
        )
        page.locator(".mg-p-bars").wait_for()
        assert bars(page)[..., 3].any()
        page.wait_for_function(
            """([r, g, b]) => {
                const canvas = document.querySelector('.mg-p-canvas');
                const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                let count = 0;
                for (let i = 0; i < pixels.length; i += 4)
                    if (Math.abs(pixels[i] - r) + Math.abs(pixels[i + 1] - g) + Math.abs(pixels[i + 2] - b) < 20)
                        count++;
                return count > 20;
            }""",
            arg=TOP.tolist(),
        )


# The last here: JupyterLab says in the page that a kernel has died.
def test_a_training_outlives_its_kernel(lab: Lab, page: Page, browser: Browser, tmp_path: Path) -> None:
    clips = tiny_clips(tmp_path / "clips", counts={"train": 1, "val": 1}, videos=False)
    recipe = recipes.pose_small(
        pose_frames=8,
        heatmap_size=8,
        pose_width=4,
        embedding_dim=8,
        batch_size=4,
        epochs=100_000,
        warmup_epochs=0,
    )
    write_json(tmp_path / "recipe.json", recipe.to_dict())
    out = tmp_path / "run"
    launch = f"""
        recipe = mg.Recipe.from_dict(json.load(open({str(tmp_path / "recipe.json")!r})))
        job = mg.launch(mg.load_clips({str(clips.root)!r}), recipe, {str(out)!r}, device="cpu", workers=0)
    """
    cells = [
        "import json, mgkit as mg",
        f"monitor = mg.widgets.TrainingMonitor({str(out)!r}, interval=0.2); monitor",
    ]
    try:
        with Notebook(lab, page, cells, "outlives.ipynb") as notebook:
            notebook.run_all()
            cell = notebook.cell(1)
            expect(cell.locator(".mgk-state")).to_have_text("Not started yet")
            notebook.execute(launch)
            expect(cell.locator(".mgk-state")).to_have_text("Running", timeout=1000 * PATIENCE)
            cell.locator("polyline[data-line=loss]").wait_for(state="attached")

            kernel = notebook.evaluate("__import__('os').getpid()")
            os.kill(kernel, signal.SIGKILL)
            notebook.keep = False
            pid = json.loads((out / "job.json").read_text())["pid"]
            os.kill(pid, 0)  # it lives
        os.kill(pid, signal.SIGSTOP)  # and leaves the processor to the page that opens
        epochs = len((out / "history.csv").read_text().splitlines())

        # Another page, another kernel: what a person has after a restart.
        with closing(browser.new_page()) as again, Notebook(lab, again, cells, "again.ipynb") as notebook:
            notebook.run_all()
            cell = notebook.cell(1)
            expect(cell.locator(".mgk-state")).to_have_text("Running", timeout=1000 * PATIENCE)
            os.kill(pid, signal.SIGCONT)
            notebook.until(f"len(monitor.job.run().history()) > {epochs}")
            cell.locator(".mgk-stop").click()
            cell.get_by_role("button", name="Stop after this step?").click()
            expect(cell.locator(".mgk-state")).to_have_text("Stopped", timeout=1000 * PATIENCE)
            assert notebook.evaluate("monitor.job.state") == "interrupted"
            epochs = notebook.evaluate("len(monitor.job.run().history())")
            cell.locator(".mgk-resume").click()
            cell.get_by_role("button", name="Resume training?").click()
            expect(cell.locator(".mgk-state")).to_have_text("Running", timeout=1000 * PATIENCE)
            notebook.until(f"len(monitor.job.run().history()) > {epochs}")
            notebook.evaluate("monitor.job.stop().name")
            assert not [line for line in notebook.console if line.startswith("page error")], notebook.console
    finally:
        from mgkit.results.run.jobs import attach

        if out.is_dir() and attach(out).look().here:
            attach(out).stop(hard=True)
