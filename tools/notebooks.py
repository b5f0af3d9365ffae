"""Make the notebooks: each `notebooks/*.py` becomes an .ipynb with its outputs, run from top to bottom.

python tools/notebooks.py            # run all and write them and their pictures (a quarter of an hour)
python tools/notebooks.py --check    # only say whether each .ipynb holds the cells of its .py
python tools/notebooks.py --repository https://github.com/OWNER/NAME   # badges and first cells that name it
"""

from __future__ import annotations

import argparse
import base64
import io
import re
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
PICTURES = NOTEBOOKS.parent / "docs" / "images" / "notebooks"
PICTURE_BYTES = 60_000
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
INSIDE = r"(data:image/png;base64,)([\w+/=]+)"  # a picture in HTML: what stands in the place of a widget
KEPT = ("text/plain", "text/html", "text/markdown", "image/png")


def sources(notebook: NotebookNode) -> list[tuple[str, str]]:
    """(type, text) of every cell."""
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def in_step(script: Path) -> bool:
    """Whether the .ipynb beside a script holds exactly its cells."""
    path = script.with_suffix(".ipynb")
    return path.is_file() and sources(nbformat.read(path, as_version=4)) == sources(jupytext.read(script))


def run(
    script: Path, parameters: dict[str, object] | None = None, timeout: int = 900, kernel: Any = None
) -> NotebookNode:
    """Execute a script as a notebook in the folder of the notebooks; an error in a cell is raised.

    Args:
        script: a notebook as py:percent.
        parameters: take the place of the values in the cell tagged "parameters"; each must be assigned there.
        timeout: of a cell, seconds.
        kernel: a kernel manager whose kernel forgets its variables and runs it; None starts one for it alone.
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
    client = NotebookClient(
        notebook, timeout=timeout, resources={"metadata": {"path": str(script.parent)}}, km=kernel
    )
    if kernel is None:
        client.execute()
    else:
        # Processes that a cell starts look for the name that `%reset` takes away too.
        notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f\n__spec__ = None"))
        try:
            client.execute()
        finally:
            client.kc.stop_channels()  # a kernel answers one client of a session
            notebook.cells.pop(0)
    return notebook


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Leave out bars and messages, times of cells, random ids, addresses of objects, the folder of the checkout, and
    outputs that no viewer of the file shows. What a cell itself prints of its speed stays."""
    notebook.metadata.pop(
        "widgets", None
    )  # their state, which nobody can show without a kernel: pictures, twice
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number}"
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [
            out for out in _as_seen(cell.outputs) if "data" not in out or set(out.data) & set(KEPT)
        ]
        for out in cell.outputs:
            if "text" in out:
                out.text = _of_any_machine(out.text)
            if "data" in out:
                out.data = {
                    kind: _of_any_machine(value) if kind.startswith("text/") else value
                    for kind, value in out.data.items()
                    if kind in KEPT
                }
                if "image/png" in out.data:
                    out.data["image/png"] = _small(out.data["image/png"])
                if "text/html" in out.data:
                    out.data["text/html"] = re.sub(
                        INSIDE, lambda m: m[1] + _small(m[2]), out.data["text/html"]
                    )
    return notebook


def _of_any_machine(text: str) -> str:
    folder = rf"(?<![\w/.-]){re.escape(str(NOTEBOOKS.parent))}(?![\w.-])"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", re.sub(folder, "..", text))


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


def picture(notebook: NotebookNode) -> bytes | None:
    """The picture in the last output of the cell tagged "picture", as PNG of at most `PICTURE_BYTES`; None without.

    That of a widget is the one that stands in its place where no widget can be shown.
    """
    found = []
    for cell in notebook.cells:
        if "picture" in cell.metadata.get("tags", ()):
            for out in cell.outputs:
                data = out.get("data", {})
                found += [data["image/png"]] if "image/png" in data else []
                found += [match[1] for match in re.findall(INSIDE, data.get("text/html", ""))]
    if not found:
        return None
    image = Image.open(io.BytesIO(base64.b64decode(found[-1]))).convert("RGB")
    width = min(image.width, 800)
    while True:
        small = image.copy()
        small.thumbnail((width, 600), Image.Resampling.LANCZOS)
        content = io.BytesIO()
        small.quantize(128, method=Image.Quantize.FASTOCTREE).save(content, "PNG", optimize=True)
        if len(content.getvalue()) <= PICTURE_BYTES:
            return content.getvalue()
        width = min(width, small.width) * 9 // 10


def name_repository(folder: Path, address: str) -> None:
    """Write the address of the repository into every notebook of a folder: a Colab badge under the title, and where
    the first cell installs mgkit from. Done again with another address, it takes the place of the one before."""
    match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", address)
    if match is None:
        raise SystemExit(f"{address!r} is no address like https://github.com/OWNER/NAME")
    for script in sorted(folder.glob("*.py")):
        notebook = jupytext.read(script)
        url = f"https://colab.research.google.com/github/{match[1]}/blob/main/notebooks/{script.stem}.ipynb"
        sources = [_named(cell.source, match[1], f"{BADGE}({url})") for cell in notebook.cells]
        for path in (script, script.with_suffix(".ipynb")):
            notebook = jupytext.read(path)
            for cell, source in zip(notebook.cells, sources, strict=True):
                cell.source = source
            if path.suffix == ".py":
                jupytext.write(notebook, path, fmt="py:percent")
            else:
                nbformat.write(notebook, path)


def _named(source: str, name: str, badge: str) -> str:
    source = re.sub(
        r'^MGKIT = "[^"]*"', f'MGKIT = "git+https://github.com/{name}"', source, flags=re.MULTILINE
    )
    if not source.startswith("# "):
        return source
    title, _, rest = source.partition("\n")
    rest = "".join(line for line in rest.splitlines(keepends=True) if not line.startswith(BADGE))
    return f"{title}\n\n{badge}\n\n{rest.lstrip()}"


def main() -> int:
    """Run or check all; 1 if a notebook is not in step with its script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--repository", help="address on GitHub, for badges and first cells; runs nothing")
    parser.add_argument("names", nargs="*", help="only these, e.g. 03_train")
    options = parser.parse_args()
    scripts = sorted(NOTEBOOKS.glob("*.py"))
    unknown = set(options.names) - {script.stem for script in scripts}
    if unknown:
        parser.error(
            f"there is no notebook {sorted(unknown)[0]}; there are {', '.join(s.stem for s in scripts)}"
        )
    scripts = [script for script in scripts if not options.names or script.stem in options.names]
    if options.repository:
        name_repository(NOTEBOOKS, options.repository)
        return 0
    if options.check:
        stale = [script.name for script in scripts if not in_step(script)]
        for name in stale:
            print(f"{name} and its .ipynb differ: run make notebooks", file=sys.stderr)
        return int(bool(stale))
    for script in scripts:
        began = time.monotonic()
        notebook = tidy(run(script))
        nbformat.write(notebook, script.with_suffix(".ipynb"))
        content = picture(notebook)
        if content is not None:
            PICTURES.mkdir(parents=True, exist_ok=True)
            (PICTURES / f"{script.stem}.png").write_bytes(content)
        print(f"{script.stem}: {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
