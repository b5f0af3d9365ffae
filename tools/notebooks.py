"""Make the notebooks: each `notebooks/*.py` becomes an .ipynb with its outputs, run from top to bottom.

python tools/notebooks.py            # run all and write them (some minutes)
python tools/notebooks.py --check    # only say whether each .ipynb holds the cells of its .py
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
KEPT = ("text/plain", "text/html", "text/markdown", "image/png")


def sources(notebook: NotebookNode) -> list[tuple[str, str]]:
    """(type, text) of every cell."""
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def in_step(script: Path) -> bool:
    """Whether the .ipynb beside a script holds exactly its cells."""
    path = script.with_suffix(".ipynb")
    return path.is_file() and sources(nbformat.read(path, as_version=4)) == sources(jupytext.read(script))


def run(script: Path, parameters: dict[str, object] | None = None, timeout: int = 900) -> NotebookNode:
    """Execute a script as a notebook in the folder of the notebooks; an error in a cell is raised.

    `parameters` take the place of the values in the cell tagged "parameters"; each must be assigned there.
    """
    notebook = jupytext.read(script)
    for name, value in (parameters or {}).items():
        cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
        lines = cell.source.splitlines()
        at = [i for i, line in enumerate(lines) if line.startswith(f"{name} = ")]
        if not at:
            raise KeyError(f"{script.name} has no parameter {name}")
        lines[at[0]] = f"{name} = {value!r}"
        cell.source = "\n".join(lines)
    NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(script.parent)}}).execute()
    return notebook


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Leave out what changes at every run: bars and messages, times, and outputs that no viewer of the file shows."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = _as_seen(cell.outputs)
        for out in cell.outputs:
            if "data" in out:
                out.data = {kind: value for kind, value in out.data.items() if kind in KEPT}
                if "image/png" in out.data:
                    out.data["image/png"] = _small(out.data["image/png"])
    return notebook


def _as_seen(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs as a page shows them in the end: no stderr, printed text in one piece, bars gone as in a terminal."""
    seen: list[NotebookNode] = []
    for out in outputs:
        if out.output_type != "stream":
            seen.append(out)
        elif out.name != "stderr":
            if seen and seen[-1].output_type == "stream":
                seen[-1].text += out.text
            else:
                seen.append(out)
    for out in seen:
        if out.output_type == "stream":
            # What stands after the last carriage return is what is left of a line.
            lines = [line.rsplit("\r", 1)[-1].rstrip() for line in out.text.split("\n")]
            out.text = "".join(f"{line}\n" for line in lines if line)
    return [out for out in seen if out.output_type != "stream" or out.text]


def _small(png: str) -> str:
    """A figure for the committed file: 1,000 pixels wide at most, 256 colours."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((1000, 2000), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    # By an octree: the usual median cut merges colours that cover few pixels, such as those of the points of a class.
    picture.quantize(256, method=Image.Quantize.FASTOCTREE).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode("ascii")


def main() -> int:
    """Run or check all; 1 if a notebook is not in step with its script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("names", nargs="*", help="only these, e.g. 03_train")
    options = parser.parse_args()
    scripts = [s for s in sorted(NOTEBOOKS.glob("*.py")) if not options.names or s.stem in options.names]
    if options.check:
        stale = [script.name for script in scripts if not in_step(script)]
        for name in stale:
            print(f"{name} and its .ipynb differ: run make notebooks", file=sys.stderr)
        return int(bool(stale))
    for script in scripts:
        print(script.stem, flush=True)
        nbformat.write(tidy(run(script)), script.with_suffix(".ipynb"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
