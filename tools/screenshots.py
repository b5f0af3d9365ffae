"""Take the pictures of the widgets in the README and of the errors notebook, as JupyterLab shows them in a browser.

python tools/screenshots.py            # after `make demo`, with Chromium; about a minute

The demonstration run is copied first: no notes are written to it.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Locator, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser.conftest import FLAGS, NAMES  # noqa: E402
from tests.browser.lab import Lab, Notebook  # noqa: E402

IMAGES = ROOT / "docs" / "images"
README_BYTES, NOTEBOOK_BYTES = 250_000, 60_000
MARGIN = 24  # pixels around a picture


def small(picture: bytes, limit: int, width: int) -> bytes:
    """A PNG of 256 colours and at most `limit` bytes: as wide as `width` if that fits, else narrower."""
    image = ImageOps.expand(Image.open(io.BytesIO(picture)).convert("RGB"), MARGIN, "white")
    while True:
        made = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
        content = io.BytesIO()
        made.quantize(256, method=Image.Quantize.FASTOCTREE).save(content, "PNG", optimize=True)
        if content.tell() <= limit:
            return content.getvalue()
        width = width * 19 // 20


def explore(notebook: Notebook, explorer: Locator) -> None:
    """Choose the FN of the class missed most often, look at one of them, step forward, and tag it."""
    page, label, right = notebook.page, *notebook.evaluate("most")
    explorer.get_by_label("Class", exact=True).select_option(label)
    explorer.get_by_role("button", name="FN", exact=True).click()
    notebook.until("explorer.filters.outcome == 'FN'")
    for number in (3, 1):  # one stays tagged as ambiguous, the other one stays in focus
        clip = notebook.evaluate(f"explorer.selection.clip_ids[{number}]")
        explorer.locator(f".mgk-card[data-clip={clip}]").click()
        notebook.until(f"explorer.clip_id == {clip!r}")
        page.wait_for_function("c => document.querySelector('.mg-player').dataset.clip === c", arg=clip)
        explorer.get_by_role("button", name="ambiguous" if number == 3 else "label wrong").click()
        notebook.until(f"{clip!r} in explorer.notes")
    explorer.get_by_label("correct class").select_option(right)
    notebook.until(f"explorer.notes[explorer.clip_id].label == {right!r}")
    notebook.execute("explorer.player.frame = 18")
    page.mouse.move(2, 2)


def shoot(part: Locator, path: Path, sizes: Sequence[tuple[Path, int, int]] = ()) -> None:
    """Save the picture of a part, for the README and in other sizes (path, bytes, width)."""
    part.page.wait_for_timeout(1500)  # until all thumbnails are there
    picture = part.screenshot()
    for target, limit, width in ((path, README_BYTES, 1600), *sizes):
        target.write_bytes(small(picture, limit, width))
        print(f"{target.relative_to(ROOT)}: {target.stat().st_size:,} bytes", flush=True)


def main() -> int:
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None or not (ROOT / "runs" / "demo" / "config.json").is_file():
        raise SystemExit("needs Chromium and the demonstration run: apt-get install chromium; make demo")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = Path(folder) / "runs" / "demo"
        shutil.copytree(ROOT / "runs" / "demo", run, ignore=shutil.ignore_patterns("review.csv"))
        lab = Lab(Path(folder) / "lab")
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        try:
            page = browser.new_page(viewport={"width": 1366, "height": 1100}, device_scale_factor=2)
            clips = str(ROOT / "data" / "demo")
            cells = [
                f"""
                import mgkit as mg
                run, clips = mg.load_run({str(run)!r}), mg.load_clips({clips!r})
                predictions = run.predictions("test")
                most = list(mg.analysis.confusions(predictions, 1)[["true", "predicted"]].iloc[0])
                errors = (predictions.predicted() != predictions.labels).nonzero()[0]
                wrong = mg.widgets.Selection((predictions.clip_ids[i] for i in errors), "wrong clips")
                confused = mg.widgets.Selection()
                mg.widgets.ConfusionMatrix(run, selection=confused).select(*most)
                """,
                "explorer = mg.widgets.ErrorExplorer(run, clips=clips, height=768); explorer",
                'mg.widgets.RunComparison(run.stage("pose"), run)',
                "mg.widgets.TrainingMonitor(run)",
                'mg.widgets.ClipPlayer(run, clips=clips, selection=confused, compare="nearest_correct")',
                "map = mg.widgets.PrototypeMap(run, selection=wrong); map.paths = True; map",
            ]
            with Notebook(lab, page, cells) as notebook:
                notebook.run_all()
                explorer = notebook.cell(1).locator(".mgk-explorer")
                explorer.locator(".mgk-card img").first.wait_for()
                explore(notebook, explorer)
                title = (IMAGES / "notebooks" / "06_errors.png", NOTEBOOK_BYTES, 900)
                shoot(explorer, IMAGES / "error_explorer.png", [title])
                names = {
                    2: "run_comparison",
                    3: "training_monitor",
                    4: "clip_player",
                    5: "prototype_map_widget",
                }
                for number, name in names.items():
                    shoot(notebook.cell(number).locator(".mgk").first, IMAGES / f"{name}.png")
        finally:
            browser.close()
            lab.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
