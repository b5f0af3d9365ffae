"""Video, widgets and fonts: not whether they are installed, but whether they work."""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mgkit import notebook
from mgkit.checkup.findings import Finding, broken, note, ok, short
from mgkit.checkup.versions import mend


def video() -> Iterator[Finding]:
    """Encode a tiny clip, and read frames of it by each library that reads."""
    import av
    import numpy as np

    from mgkit.data.video import write_video

    if "libx264" not in av.codecs_available:
        found = "this PyAV comes without it: clips cannot be prepared"
        yield broken("encoder libx264", found, mend("av", anew=True))
        return
    # Grey pictures, each brighter than the one before: what comes back tells which frame it is.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        try:
            count = write_video(path, [np.full((32, 48, 3), 20 + 20 * i, np.uint8) for i in range(10)], 25)
        except Exception as error:
            yield broken("encoder libx264", short(error), mend("av", anew=True))
            return
        yield ok("encoder libx264", f"wrote {count} frames, {path.stat().st_size} bytes")
        yield _decoder("pyav", path)
        if importlib.util.find_spec("decord") is not None:
            yield _decoder("decord", path)


def _decoder(library: str, path: Path) -> Finding:
    """Whether a library gives frames 9, 0 and 5 of the clip, each 20 levels brighter than the one before it."""
    from mgkit.data.video import read_frames

    name, problem = f"decoder {library}", broken if library == "pyav" else note
    advice = mend("av", anew=True) if library == "pyav" else "Nothing to do: PyAV is what reads by default."
    try:
        frames = read_frames(path, [9, 0, 5], library)
    except Exception as error:
        return problem(name, short(error), advice)
    read = [round((level - 20) / 20) for level in frames.reshape(3, -1).mean(1).tolist()]
    if read != [9, 0, 5]:
        return problem(name, f"frames 9, 0, 5 were asked for and {read} came", advice)
    return ok(name, "read back the frames that were asked for")


def widgets() -> Iterator[Finding]:
    """Whether what a person clicks can be shown where this runs."""
    where = notebook.place()
    if where == notebook.COLAB:
        yield ok("running in", where)
        yield _colab()
        return
    if where == notebook.VSCODE:
        yield ok("running in", f"{where}, whose Jupyter extension loads what widgets need")
        return
    if where == notebook.JUPYTER:
        yield ok("running in", where)
    else:
        yield ok("running in", f"{where}: no widgets here, figures and tables work")
    yield from _lab_extensions(needed=where == notebook.JUPYTER)


def _colab() -> Finding:
    name = "Colab's custom widgets"
    try:
        notebook.enable_colab_widgets()
    except Exception as error:
        call = "from google.colab import output; output.enable_custom_widget_manager()"
        return broken(name, short(error), f"Run this in a cell: {call}")
    return ok(name, "enabled")


def _lab_extensions(*, needed: bool) -> Iterator[Finding]:
    """The JavaScript of the widgets, where a JupyterLab started from this environment looks for it."""
    from jupyter_core.paths import jupyter_path

    folders, off = jupyter_path("labextensions"), _disabled()
    problem = broken if needed else note
    for name, package in {
        "anywidget": "anywidget",
        "@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets",
    }.items():
        what = f"lab extension {name.rpartition('/')[2]}"
        if not any((Path(folder) / name / "package.json").is_file() for folder in folders):
            advice = f"In the environment that JupyterLab is started from: {mend(package, anew=True)}; reload the page."
            yield problem(what, "not found in this environment", advice)
        elif name in off:
            yield problem(
                what, "found, but disabled", f"jupyter labextension enable {name}; reload the page."
            )
        else:
            yield ok(what, "found")


def _disabled() -> set[str]:
    """Names of the lab extensions that a person has switched off."""
    from jupyter_core.paths import jupyter_config_path

    names: set[str] = set()
    for folder in jupyter_config_path():
        file = Path(folder) / "labconfig" / "page_config.json"
        said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        disabled = said.get("disabledExtensions", {})
        names |= {name for name in disabled if not isinstance(disabled, dict) or disabled[name]}
    return {name.partition(":")[0] for name in names}  # also one plugin of an extension


def fonts() -> Iterator[Finding]:
    """What figures are set in."""
    from matplotlib.font_manager import fontManager

    there = {entry.name for entry in fontManager.ttflist}
    missing = [name for name in ("STIXGeneral", "DejaVu Sans") if name not in there]
    if missing:
        found = f"{' and '.join(missing)} not found, which come with matplotlib"
        yield broken("fonts of figures", found, mend("matplotlib", anew=True))
    else:
        yield ok("fonts of figures", "STIX and DejaVu Sans, which come with matplotlib")
    if not any(re.search("CJK|YaHei|PingFang|Hiragino", name) for name in there):
        advice = "Only for such names: install one (Debian: apt-get install fonts-noto-cjk)."
        yield note("other scripts", "no font for Chinese, Japanese or Korean class names", advice)
