"""Python, mgkit and the packages it asks for."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from mgkit import __version__
from mgkit.checkup.findings import Finding, broken, note, ok, short

ROOT = Path(__file__).resolve().parents[2]
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
    "psutil": "it measures memory where the system does not tell",
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
