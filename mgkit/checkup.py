"""What works on this machine and what does not: `mg.doctor()`, `mgkit doctor` in a shell.

What a check finds, and the report of all of them.

Python, mgkit and the packages it asks for.

Device, cores, memory and disk.

Video, widgets and fonts: not whether they are installed, but whether they work.

All checks, one after the other.
"""

from __future__ import annotations

import html
import importlib
import importlib.metadata
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import tempfile
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mgkit import __version__, notebook
from mgkit.parallel import cores, memory_left

__all__ = ["Finding", "Report", "doctor"]


MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN"}
# Readable on the light and the dark pages of JupyterLab; the word stands there as well.
COLOURS = {"ok": "#2e8b57", "note": "#b8860b", "broken": "#d1442f"}
WIDTH = 110  # characters of a line in a terminal


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        what: what was looked at.
        found: what was found, for people.
        state: "ok", "note" (all works, but slower or with less) or "broken" (something of mgkit will fail).
        advice: what to do about it, one sentence; empty where nothing is to be done.
        group: what it belongs to, e.g. "Device".
    """

    what: str
    found: str
    state: str = "ok"
    advice: str = ""
    group: str = ""


def ok(what: str, found: str) -> Finding:
    """Nothing is to be done."""
    return Finding(what, found)


def note(what: str, found: str, advice: str) -> Finding:
    """All works, but slower or with less."""
    return Finding(what, found, "note", advice)


def broken(what: str, found: str, advice: str) -> Finding:
    """Something of mgkit will fail."""
    return Finding(what, found, "broken", advice)


def short(error: BaseException) -> str:
    """An error in one line of at most 200 characters."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200]


@dataclass(frozen=True, repr=False)
class Report:
    """What `doctor` found; shows itself as a table in a terminal and in a notebook.

    Attributes:
        findings: what was looked at, in the order of the checks.
    """

    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """What something of mgkit will fail on."""
        return tuple(finding for finding in self.findings if finding.state == "broken")

    @property
    def ok(self) -> bool:
        """Whether nothing is broken. Notes (little memory, a missing font, ...) do not count."""
        return not self.broken

    def __getitem__(self, what: str) -> Finding:
        """The first finding of this name, e.g. `report["torch"]`; a `KeyError` if that was not looked at."""
        for finding in self.findings:
            if finding.what == what:
                return finding
        raise KeyError(what)

    def __repr__(self) -> str:
        lines = []
        column = max((len(finding.what) for finding in self.findings), default=0) + 2
        for group, findings in self._groups():
            lines.append(group)
            for finding in findings:
                head = f"  {MARKS[finding.state]:<8}{finding.what:<{column}}"
                indent = " " * len(head)
                lines += textwrap.wrap(
                    finding.found, WIDTH, initial_indent=head, subsequent_indent=indent
                ) or [head.rstrip()]
                lines += textwrap.wrap(
                    finding.advice, WIDTH, initial_indent=f"{indent}-> ", subsequent_indent=f"{indent}   "
                )
        return "\n".join([*lines, "", self._verdict()])

    def _repr_html_(self) -> str:
        rows = []
        for group, findings in self._groups():
            rows.append(f'<tr><th colspan="3" style="text-align:left">{html.escape(group)}</th></tr>')
            for finding in findings:
                advice = f"<br><b>→ {html.escape(finding.advice)}</b>" if finding.advice else ""
                style = f"color:{COLOURS[finding.state]};font-weight:bold"
                rows.append(
                    f'<tr><td style="{style}">{MARKS[finding.state]}</td>'
                    f'<td style="text-align:left">{html.escape(finding.what)}</td>'
                    f'<td style="text-align:left">{html.escape(finding.found)}{advice}</td></tr>'
                )
        return f"<table>{''.join(rows)}</table><p>{html.escape(self._verdict())}</p>"

    def _groups(self) -> Iterator[tuple[str, list[Finding]]]:
        for group in dict.fromkeys(finding.group for finding in self.findings):
            yield group, [finding for finding in self.findings if finding.group == group]

    def _verdict(self) -> str:
        notes = sum(finding.state == "note" for finding in self.findings)
        words = f"{notes} note{'s' * (notes != 1)}"
        if self.ok:
            return f"Nothing is broken; {words}."
        names = ", ".join(finding.what for finding in self.broken)
        return f"Broken: {names}; {words}. What to do stands beside each."


ROOT = Path(__file__).resolve().parents[1]
# Where a distribution is imported under another name than its own
IMPORTED_AS = {
    "lightning-fabric": "lightning_fabric",
    "decord2": "decord",
    "opencv-python-headless": "cv2",
    "scikit-learn": "sklearn",
    "umap-learn": "umap",
    "python-calamine": "python_calamine",
}
# Pure Python, or loaded by others of the list, and slow to import: that they are there is enough.
LOOKED_FOR = {
    "lightning_fabric",
    "jupyterlab",
    "sklearn",
    "statsmodels",
    "umap",
    "seaborn",
    "torchvision",
    "scipy",
}
SPARED = {"decord", "decord2"}  # PyAV reads the same frames
OPTIONAL = {
    "jupytext": "it keeps each notebook and its script in step",
    "playwright": "it drives the browser tests",
}


def mend(name: str, wanted: str = "", *, anew: bool = False) -> str:
    """The command that puts a package right."""
    return f'python -m pip install {"--force-reinstall " * anew}"{name}{wanted}"'


def python_and_mgkit() -> Iterator[Finding]:
    """mgkit itself and the Python it runs in."""
    yield ok("mgkit", __version__)
    version = platform.python_version()
    asked, _ = asked_for()
    if suits(version, asked):
        yield ok("Python", f"{version} ({asked})")
    else:
        yield broken(
            "Python",
            f"{version}, asked for is {asked}",
            "Use Python 3.11 to 3.13: make env PYTHON=python3.12",
        )


def packages() -> Iterator[Finding]:
    """Every package that mgkit asks for: is it there, in the range asked for, and does it load?"""
    for name, wanted in asked_for()[1]:
        yield _package(name, wanted)


def _package(name: str, wanted: str) -> Finding:
    problem = note if name in SPARED else broken
    module = IMPORTED_AS.get(name, name)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        instead = "; PyAV reads in its place" if name in SPARED else ""
        return problem(name, f"not installed{instead}", mend(name, wanted))
    if not suits(version, wanted):
        return problem(name, f"{version}, asked for is {wanted}", mend(name, wanted))
    why = _why_not(module)
    if why:
        return problem(name, f"{version}, but it does not load: {why}", mend(name, wanted, anew=True))
    return ok(name, f"{version} ({wanted})")


def _why_not(module: str) -> str:
    """Why a module does not load; empty if it does."""
    try:
        if module not in LOOKED_FOR:
            importlib.import_module(module)
        elif importlib.util.find_spec(module) is None:
            return f"there is no module {module}"
    except Exception as error:
        return short(error)
    return ""


def optional() -> Iterator[Finding]:
    """What is used where it is there."""
    for name, use in OPTIONAL.items():
        try:
            yield ok(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield ok(name, f"not installed: {use}")
    git = shutil.which("git")
    if git is None:
        yield note("git", "not found: a run cannot record the revision of the code", "Install git.")
    else:
        said = subprocess.run([git, "--version"], capture_output=True, text=True, timeout=5).stdout
        yield ok("git", said.strip().removeprefix("git version ") or "found")


def asked_for() -> tuple[str, list[tuple[str, str]]]:
    """The range of Python, and (name, range) of each package asked for on this machine.

    From pyproject.toml in a checkout, since what an editable installation remembers may be older; else from what was
    installed.
    """
    from packaging.requirements import Requirement

    file = ROOT / "pyproject.toml"
    if file.is_file() and '\nname = "mgkit"\n' in (text := file.read_text(encoding="utf-8")):
        project = tomllib.loads(text)["project"]
        python, lines = project["requires-python"], project["dependencies"]
    else:
        python = importlib.metadata.metadata("mgkit")["Requires-Python"]
        lines = importlib.metadata.requires("mgkit") or []
    asked = [Requirement(line) for line in lines]
    here = [r for r in asked if r.marker is None or r.marker.evaluate({"extra": ""})]
    return python, [(r.name, str(r.specifier)) for r in here]


def suits(version: str, wanted: str) -> bool:
    """Whether a version is in a range."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(wanted).contains(version, prereleases=True)


GIB = 1 << 30
# GiB. The embedded data with a run take a fifth of one.
DISK_LOW, DISK_OUT, MEMORY_LOW, GPU_LOW = 5.0, 0.5, 3.0, 4.0


def device() -> Iterator[Finding]:
    """Where the networks will run."""
    import torch

    built, there = torch.version.cuda, driver()
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            yield _gpu(i, there)
    elif there and built is None:
        advice = "Install a torch built for CUDA (pytorch.org), or go on: all works, slower."
        yield note("GPU", f"driver {there}, but this torch is built for CPUs only", advice)
    elif there:
        advice = "Update the NVIDIA driver, or install a torch built for an older CUDA; look at CUDA_VISIBLE_DEVICES."
        yield broken("GPU", f"driver {there} does not go with CUDA {built} of this torch", advice)
    elif torch.backends.mps.is_available():
        yield ok("GPU", "Apple's, which is used only with device='mps' and is not tested")
    else:
        yield ok("GPU", "none: all works, slower")
    yield ok("CPU", f"{cores()} cores for this process, {torch.get_num_threads()} threads of torch")


def _gpu(i: int, there: str) -> Finding:
    import torch

    name = f"GPU {i}"
    try:
        free, total = torch.cuda.mem_get_info(i)
        bf16 = torch.cuda.is_bf16_supported()
        found = (
            f"{torch.cuda.get_device_name(i)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, "
            f"CUDA {torch.version.cuda}, driver {there or 'not known'}, bf16 {'yes' if bf16 else 'no'}"
        )
        ones = torch.ones(8, 8, device=f"cuda:{i}")
        right = bool((ones @ ones == 8).all())
    except Exception as error:
        advice = "Install a torch built for this GPU and driver, or work with device='cpu'."
        return broken(name, f"it does not compute: {short(error)}", advice)
    if not right:
        return broken(
            name, f"{found}; it computes wrongly", "Restart the machine, or work with device='cpu'."
        )
    if free < GPU_LOW * GIB:
        return note(name, found, "Stop what else uses this GPU, or train with a smaller batch_size.")
    if not bf16:
        return note(name, found, "Without bf16 it computes in float32, which takes about twice the memory.")
    return ok(name, found)


def driver() -> str:
    """Version of the NVIDIA driver; empty without one."""
    file = Path("/proc/driver/nvidia/version")
    if file.is_file():
        found = re.search(r"\s(\d+\.\d+(\.\d+)?)\s", file.read_text(errors="replace"))
        return found[1] if found else "of unknown version"
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    words = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def memory_and_disk() -> Iterator[Finding]:
    """What is free, and whether the working folder can be written."""
    free = memory_left()
    if free < MEMORY_LOW * GIB:
        advice = "Close other programs, or train with a smaller batch_size and workers=0."
        yield note("memory", f"{free / GIB:.1f} GiB free", advice)
    else:
        yield ok("memory", f"{free / GIB:.1f} GiB free")
    left = shutil.disk_usage(".").free / GIB
    found = f"{left:.1f} GiB free in the working folder"
    if left < DISK_OUT:
        yield broken("disk", found, "Make room, or keep data and runs in a folder on another disk.")
    elif left < DISK_LOW:
        yield note("disk", found, "Enough for the embedded data; make room before you prepare a dataset.")
    else:
        yield ok("disk", found)
    try:
        with tempfile.TemporaryFile(dir="."):
            pass
    except OSError as error:
        advice = "Start in a folder of yours, or pass paths that can be written."
        yield note("writing", f"the working folder cannot be written: {error.strerror}", advice)


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


Check = Callable[[], Iterator[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("Versions", python_and_mgkit),
    ("Packages", packages),
    ("Device", device),
    ("Memory and disk", memory_and_disk),
    ("Video", video),
    ("Widgets", widgets),
    ("Figures", fonts),
    ("Optional", optional),
)


def doctor() -> Report:
    """Look at all that mgkit rests on: versions, device, memory, disk, video, widgets, fonts, git.

    Takes a few seconds, leaves nothing behind, and never raises: a check that fails in a way it does not know becomes
    a finding that says so.

    Returns:
        A report that shows itself; `report.ok` is False where something is broken.
    """
    return Report(tuple(finding for group, check in CHECKS for finding in _guarded(group, check)))


def _guarded(group: str, check: Check) -> list[Finding]:
    """What a check finds; what it raises is its last finding."""
    found: list[Finding] = []
    try:
        for finding in check():
            found.append(replace(finding, group=group))
    except Exception as error:
        unknown = broken(
            check.__name__.replace("_", " "),
            f"could not be looked at: {short(error)}",
            "Mend what stands above first; if nothing does, make the environment anew: make clean-env env",
        )
        found.append(replace(unknown, group=group))
    return found
