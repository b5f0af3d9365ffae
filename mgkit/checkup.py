"""Check of this machine: `mg.doctor()` in a notebook, `mgkit doctor` in a shell.

Versions, device, memory and disk, video, widgets; with one line of advice per problem.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mgkit import __version__, notebook
from mgkit.errors import counted
from mgkit.parallel import cores, memory_left

GIB = 1 << 30
WIDTH = 110  # characters of a line in a terminal
DISK_LOW, DISK_OUT, MEMORY_LOW, GPU_LOW = 5.0, 0.5, 3.0, 4.0  # GiB
MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN"}


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        what: what was checked.
        found: the result, for people.
        state: "ok", "note" (everything works, but slower or with less) or "broken" (some part of mgkit will fail).
        advice: what to do about it, one sentence; empty where nothing is to be done.
    """

    what: str
    found: str
    state: str = "ok"
    advice: str = ""


@dataclass(frozen=True, repr=False)
class Report:
    """Result of `doctor`, shown as a table.

    Attributes:
        findings: in the order of the checks.
    """

    findings: tuple[Finding, ...]

    @property
    def broken(self) -> tuple[Finding, ...]:
        """Findings on which some part of mgkit will fail."""
        return tuple(finding for finding in self.findings if finding.state == "broken")

    @property
    def ok(self) -> bool:
        """Whether nothing is broken. Notes (little memory, no GPU driver, ...) do not count."""
        return not self.broken

    def __repr__(self) -> str:
        lines = []
        column = max((len(finding.what) for finding in self.findings), default=0) + 2
        for finding in self.findings:
            head = f"{MARKS[finding.state]:<8}{finding.what:<{column}}"
            indent = " " * len(head)
            lines += textwrap.wrap(
                finding.found, WIDTH, initial_indent=head, subsequent_indent=indent
            ) or [head.rstrip()]  # fmt: skip
            lines += textwrap.wrap(
                finding.advice, WIDTH, initial_indent=f"{indent}-> ", subsequent_indent=f"{indent}   "
            )
        return "\n".join([*lines, "", self._verdict()])

    def _verdict(self) -> str:
        notes = sum(finding.state == "note" for finding in self.findings)
        words = f"{notes} note{'s' * (notes != 1)}"
        if self.ok:
            return f"Nothing is broken; {words}."
        return f"Broken: {', '.join(finding.what for finding in self.broken)}; {words}. See the advice next to each."


def doctor() -> Report:
    """Check versions, device, memory, disk, video and widgets, in a few seconds.

    It leaves nothing behind and never raises: a check that fails in a way it does not know becomes a finding.

    Returns:
        A report that displays itself; `report.ok` is False where something is broken.
    """
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check())
        except Exception as error:
            advice = "Fix the problems above first, otherwise recreate the environment: make clean-env env"
            findings.append(
                Finding(check.__name__, f"could not be checked: {_short(error)}", "broken", advice)
            )
    return Report(tuple(findings))


def _short(error: BaseException) -> str:
    """An error in one line of at most 200 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def _install(name: str, wanted: str = "") -> str:
    again = "" if wanted else "--force-reinstall "
    return f'python -m pip install {again}"{name}{wanted}"'


# ---------------------------------------------------------------------------------------------------------------------
# Versions


def versions() -> Iterator[Finding]:
    """Check Python and every package against the ranges that mgkit requires."""
    from packaging.specifiers import SpecifierSet

    python, packages = required()
    here, good = platform.python_version(), []
    yield Finding("mgkit", __version__)
    if here in SpecifierSet(python):
        yield Finding("Python", here)
    else:
        advice = "Use Python 3.11 to 3.13: make env PYTHON=python3.12"
        yield Finding("Python", f"{here}, but {python} is required", "broken", advice)
    for name, wanted in packages:
        # PyAV reads the same frames as decord, so that one is only missed by whoever asks for it.
        state = "note" if name in ("decord", "decord2") else "broken"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not installed", state, _install(name, wanted or ">=0"))
            continue
        if SpecifierSet(wanted).contains(version, prereleases=True):
            good.append(f"{name} {version}")
        else:
            yield Finding(name, f"{version}, but {wanted} is required", state, _install(name, wanted))
    yield Finding("packages", f"{len(good)} as required: {', '.join(good)}")


def required() -> tuple[str, list[tuple[str, str]]]:
    """The range of Python, and (name, range) of each package that is required on this machine."""
    from packaging.requirements import Requirement

    packages = [Requirement(line) for line in importlib.metadata.requires("mgkit") or []]
    here = [r for r in packages if r.marker is None or r.marker.evaluate({"extra": ""})]
    return importlib.metadata.metadata("mgkit")["Requires-Python"], [(r.name, str(r.specifier)) for r in here]


# ---------------------------------------------------------------------------------------------------------------------
# Machine


def waiting_threads() -> Finding:
    """How long threads of GNU's OpenMP spin before they sleep while they wait for each other, as torch found it set."""
    what, policy, turns = "threads", os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")
    if policy and not turns:  # which goes before the policy
        return Finding(what, f"wait as OMP_WAIT_POLICY={policy} says")
    if turns:
        return Finding(what, f"sleep after {turns} turns of waiting (GOMP_SPINCOUNT)")
    advice = "Import mgkit before torch: on busy cores a step may take several times as long without it."
    return Finding(what, "spin for long while they wait: torch was imported before mgkit", "note", advice)


def device() -> Iterator[Finding]:
    """Check where the networks will run: each GPU computes something, or the reason why there is none."""
    import torch

    built, there = torch.version.cuda, driver()
    yield Finding("CPU", f"{counted(cores(), 'core')} for this process")
    if sys.platform == "linux":
        yield waiting_threads()
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            yield _gpu(i)
    elif there and built is None:
        advice = "Install a torch built for CUDA (pytorch.org); without it everything works, slower."
        yield Finding("GPU", f"driver {there}, but this torch is built for CPUs only", "note", advice)
    elif there:
        advice = "Update the NVIDIA driver, or install a torch built for an older CUDA; check CUDA_VISIBLE_DEVICES."
        yield Finding(
            "GPU", f"driver {there} does not work with CUDA {built} of this torch", "broken", advice
        )
    else:
        yield Finding("GPU", "none: everything works, slower")


def _gpu(i: int) -> Finding:
    import torch

    name = f"GPU {i}"
    try:
        free, total = (number / GIB for number in torch.cuda.mem_get_info(i))
        found = (
            f"{torch.cuda.get_device_name(i)}, {free:.1f} of {total:.1f} GiB free, CUDA {torch.version.cuda}"
        )
        if not torch.cuda.is_bf16_supported():
            found += ", no bf16: it computes in float32, which takes about twice the memory"
        ones = torch.ones(8, 8, device=f"cuda:{i}")
        if not bool((ones @ ones == 8).all()):
            raise ArithmeticError("a product of two matrices is wrong")
    except Exception as error:
        advice = "Install a torch built for this GPU and driver, or work with device='cpu'."
        return Finding(name, f"it does not compute: {_short(error)}", "broken", advice)
    if free < GPU_LOW:
        advice = "Stop other programs on this GPU, or train with a smaller batch_size."
        return Finding(name, found, "note", advice)
    return Finding(name, found)


def driver() -> str:
    """Version of the NVIDIA driver; empty without one."""
    try:
        words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else ""


def memory_and_disk() -> Iterator[Finding]:
    """Check what is free, and whether the working folder can be written to."""
    free, left = memory_left() / GIB, shutil.disk_usage(".").free / GIB
    few = "Close other programs, or train with a smaller batch_size and workers=0."
    yield Finding("memory", f"{free:.1f} GiB free", *(("note", few) if free < MEMORY_LOW else ()))
    full = "Free some space, or keep data and runs in a folder on another disk."
    state = "broken" if left < DISK_OUT else "note" if left < DISK_LOW else "ok"
    yield Finding("disk", f"{left:.1f} GiB free in the working folder", state, full if state != "ok" else "")
    try:
        with tempfile.TemporaryFile(dir="."):
            pass
    except OSError as error:
        advice = "Start in a folder of your own, or pass paths that can be written to."
        yield Finding("disk", f"the working folder cannot be written to ({error.strerror})", "note", advice)


# ---------------------------------------------------------------------------------------------------------------------
# Video and widgets: not whether they are installed, but whether they work


def video() -> Iterator[Finding]:
    """Encode a tiny clip, and read frames of it with each library that reads."""
    import numpy as np

    from mgkit.data.video import write_video

    # Grey pictures, each brighter than the one before: the brightness of a frame that is read is its number.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        try:
            write_video(path, [np.full((32, 48, 3), 20 + 20 * i, np.uint8) for i in range(10)], 25)
        except Exception as error:
            yield Finding(
                "video, encoding", f"clips cannot be prepared: {_short(error)}", "broken", _install("av")
            )
            return
        yield Finding("video, encoding", "works")
        yield _decoder("pyav", path)
        if importlib.util.find_spec("decord") is not None:
            yield _decoder("decord", path)


def _decoder(library: str, path: Path) -> Finding:
    """Check that a library reads frames 9, 0 and 5 of the clip."""
    from mgkit.data.video import read_frames

    name, state, advice = f"video, {library}", "broken", _install("av")
    if library != "pyav":
        state, advice = "note", "Nothing to do: PyAV is the default."
    try:
        frames = read_frames(path, [9, 0, 5], library)
    except Exception as error:
        return Finding(name, _short(error), state, advice)
    read = [round((level - 20) / 20) for level in frames.reshape(3, -1).mean(1).tolist()]
    if read != [9, 0, 5]:
        return Finding(name, f"reads frames {read} for 9, 0 and 5", state, advice)
    return Finding(name, "reads the right frames")


def pictures() -> Iterator[Finding]:
    """Check that OpenCV is there once: its four packages write the same `cv2`, and removing one takes files of another.

    mediapipe, of the extra `pose`, brings a second one.
    """
    names = [f"opencv-{kind}{head}" for kind in ("python", "contrib-python") for head in ("", "-headless")]
    there = []
    for name in names:
        try:
            there.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    advice = _install("opencv-python-headless")
    try:
        import cv2

        if not hasattr(cv2, "resize"):
            raise ImportError("it is empty")
    except ImportError as error:
        yield Finding("OpenCV", f"cv2 does not import: {_short(error)}", "broken", advice)
        return
    if len(there) < 2:
        yield Finding("OpenCV", ", ".join(there) or cv2.__version__)
        return
    found = f"{' and '.join(there)} write the same cv2, which is of {cv2.__version__}"
    yield Finding("OpenCV", found, "note", f"Works while all stay; after removing one: {advice}")


def widgets() -> Iterator[Finding]:
    """Check whether widgets can be shown where this runs."""
    where = notebook.place()
    if where not in (notebook.JUPYTER, notebook.COLAB, notebook.VSCODE):
        yield Finding("widgets", f"{where} shows none; figures and tables work")
    elif where == notebook.COLAB:
        notebook.enable_colab_widgets()
        yield Finding("widgets", "enabled in Colab")
    elif where == notebook.VSCODE:
        yield Finding("widgets", "VS Code's Jupyter extension loads what they need")
    else:
        yield from _lab_extensions()


def _lab_extensions() -> Iterator[Finding]:
    """Check for the JavaScript of the widgets where a JupyterLab started from this environment looks for it."""
    from jupyter_core.paths import jupyter_path

    packages = {"anywidget": "anywidget", "@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets"}
    for name, package in packages.items():
        if not any(
            (Path(folder) / name / "package.json").is_file() for folder in jupyter_path("labextensions")
        ):
            advice = (
                f"In the environment that JupyterLab is started from: {_install(package)}; reload the page."
            )
            yield Finding("widgets", f"the lab extension {name} is not in this environment", "broken", advice)
            return
    yield Finding("widgets", "the lab extensions are there")


def class_names() -> Iterator[Finding]:
    """Check whether figures can show class names in Chinese, Japanese and Korean; those in browsers always can."""
    from mgkit.views.figures import fonts

    absent = [language for language, sample in fonts.SAMPLES.items() if fonts.lacking(sample)]
    if not absent:
        yield Finding("class names", f"figures can show {', '.join(fonts.SAMPLES)} ones too")
        return
    found = f"figures show {', '.join(absent)} ones as boxes, since no font here has the characters"
    yield Finding("class names", found, "note", f"Only if you need them, {fonts.ADVICE}.")


CHECKS = (versions, device, memory_and_disk, video, pictures, widgets, class_names)
