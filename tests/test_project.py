"""pyproject.toml, the lock, environment.yml, CITATION.cff, the Makefile and git's lists agree with each other."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK_LINES = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
LOCK_LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.+!_]+)( ; (?P<marker>\S.*))?")

LINUX = {"sys_platform": "linux", "platform_machine": "x86_64"}
MAC = {"sys_platform": "darwin", "platform_machine": "arm64"}
WINDOWS = {"sys_platform": "win32", "platform_machine": "AMD64"}
LINUX_ARM = {"sys_platform": "linux", "platform_machine": "aarch64"}
PLATFORMS = pytest.mark.parametrize(
    "platform", [LINUX, MAC, WINDOWS, LINUX_ARM], ids=["linux", "mac", "windows", "linux-arm"]
)


def requirements() -> list[Requirement]:
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    return [Requirement(line) for line in lines]


def locked(platform: dict[str, str] | None = None) -> dict[str, Version]:
    """Canonical name -> pinned version, of all lines or of those that apply on `platform`."""
    pins = {}
    for line in LOCK_LINES:
        match = LOCK_LINE.fullmatch(line)
        assert match, f"not a name==version line: {line!r}"
        marker = match["marker"]
        if platform is None or marker is None or Marker(marker).evaluate(platform):
            pins[canonicalize_name(match["name"])] = Version(match["version"])
    return pins


def git(*args: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False)


def test_lock_holds_pins_and_nothing_else() -> None:
    for line in LOCK_LINES:
        match = LOCK_LINE.fullmatch(line)
        assert match, f"not a name==version line: {line!r}"
        assert "+" not in match["version"], f"a build of one machine: {line!r}"
        assert not re.search(r"://|@|--|#|\.(org|com|io)\b", line), f"an address or an option: {line!r}"
    names = [canonicalize_name(line.partition("==")[0]) for line in LOCK_LINES]
    assert names == sorted(set(names)), "the lock is not sorted, or names a package twice"


@PLATFORMS
def test_lock_has_each_dependency_at_a_version_that_suits(platform: dict[str, str]) -> None:
    pins = locked(platform)
    for req in requirements():
        name = canonicalize_name(req.name)
        if req.marker is not None and not req.marker.evaluate(platform):
            assert name not in pins, f"{req.name} is locked on {platform}, where it is not asked for"
            continue
        assert name in pins, f"{req.name} is not in requirements.lock: run `make lock`"
        assert req.specifier.contains(pins[name], prereleases=True), (
            f"{name} {pins[name]} is locked, not {req}"
        )


def test_lock_has_all_that_its_packages_require() -> None:
    pins = locked()
    missing = set()
    for name in pins:
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        for req in map(Requirement, lines):
            if req.marker is None or req.marker.evaluate({"extra": ""}):
                pin = pins.get(canonicalize_name(req.name))
                if pin is None:
                    missing.add(f"{name} needs {req.name}, which is not locked")
                elif not req.specifier.contains(pin, prereleases=True):
                    missing.add(f"{name} needs {req}, and {pin} is locked")
    # a system other than the one that wrote the lock may need a package more (colorama on Windows)
    if all(Marker(f'{key} == "{value}"').evaluate() for key, value in LINUX.items()):
        assert not missing, "\n".join(sorted(missing))


def test_locked_packages_install_on_each_python_offered() -> None:
    """soupsieve 4, say, wants Python 3.11.5, and Debian 12 has 3.11.2."""
    classifier = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    pythons = [Version(m[1] + ".0") for m in map(classifier.fullmatch, PROJECT["classifiers"]) if m]
    refused = []
    for name, version in locked().items():
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        wants = SpecifierSet(metadata.get("Requires-Python", ""))
        if Version(metadata["Version"]) == version:
            refused += [f"{name} {version} wants Python {wants}, not {v}" for v in pythons if v not in wants]
    assert not refused, "install older ones in .venv, then `make lock`:\n" + "\n".join(refused)


def test_cuda_is_locked_for_linux_x86_64_only() -> None:
    assert {"torch", "torchvision"} <= locked(MAC).keys()
    for platform in (MAC, WINDOWS, LINUX_ARM):
        assert not [name for name in locked(platform) if re.match(r"nvidia-|cuda-|triton$", name)]
    assert ("decord" in locked(LINUX), "decord2" in locked(LINUX)) == (True, False)
    assert ("decord" in locked(MAC), "decord2" in locked(MAC)) == (False, True)


def test_environment_yml_takes_the_lock_and_a_python_that_suits() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PROJECT["name"]
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert pip == ["-r requirements.lock", "-e ."], "all that pip installs comes from the lock"

    (python,) = [line for line in conda if line.split()[0] == "python"]
    offered = SpecifierSet(python.removeprefix("python").strip())
    minors = {f"3.{minor}" for minor in range(30) if f"3.{minor}" in offered}
    assert minors == {v for v in minors if Version(v) in SpecifierSet(PROJECT["requires-python"])}
    assert min(minors, key=Version) == PROJECT["requires-python"].removeprefix(">=")
    classifier = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    assert minors == {m[1] for m in map(classifier.fullmatch, PROJECT["classifiers"]) if m}

    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    low, high = (tuple(map(int, v.split("."))) for v in (min(minors, key=Version), max(minors, key=Version)))
    assert f"not {low} <= sys.version_info[:2] <= {high}" in makefile


def test_citation_is_sound_and_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    for key in ("message", "title", "authors"):
        assert citation[key], f"CITATION.cff needs {key}"
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert citation["version"] == PROJECT["version"]
    (paper,) = citation["references"]
    assert paper["title"] == "Prototype Learning for Micro-gesture Classification"
    assert len(paper["authors"]) == 8


def test_version_is_the_same_everywhere() -> None:
    if importlib.util.find_spec("mgkit") is None:
        pytest.skip("mgkit cannot be imported")
    import mgkit

    assert getattr(mgkit, "__version__", PROJECT["version"]) == PROJECT["version"]


def test_no_tracked_file_names_a_path_of_one_machine() -> None:
    common = {Path("/"), *(Path("/", top) for top in "tmp home opt srv usr var data app".split())}
    here = {
        ROOT,
        ROOT.parent,
        Path.home(),
    } - common  # common: examples may name these, wherever this checkout lies
    patterns = [re.escape(str(place)) for place in here] + [r"/root", r"/home/\w+", r"/Users/[A-Za-z]\w*"]
    # not in the middle of a longer path or of an address
    a_place = re.compile(rf"(?<![\w.~/$}}-])(?:file://)?(?:{'|'.join(patterns)})/")
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    assert listed.returncode == 0, listed.stderr
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or b"\0" in (blob := path.read_bytes()):
            continue
        for number, line in enumerate(blob.decode("utf-8", errors="replace").splitlines(), 1):
            if match := a_place.search(line):
                found.append(f"{name}:{number}: {match[0]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "path", ["data/demo/clips.parquet", "data/imigue/videos/1.mp4", "runs/a/config.json"]
)
def test_git_ignores_data_and_runs(path: str) -> None:
    assert git("check-ignore", "-q", path).returncode == 0


@pytest.mark.parametrize(
    "path", ["data/README.md", "mgkit/data/clips.py", "mgkit/results/run/folder.py", "tests/data/a.npy"]
)
def test_git_keeps_the_code_that_is_named_like_data(path: str) -> None:
    assert git("check-ignore", "-q", path).returncode == 1


def test_make_help_names_each_target() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here: apt-get install make")
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^  {target}\s+\S", shown, re.MULTILINE), f"make help does not tell of {target}"


@pytest.mark.parametrize(("fails", "said"), [("", []), ("mypy", ["lint failed"]), ("pytest", ["tests failed"]),
                                             ("m ", ["lint failed", "tests failed"])])  # fmt: skip
def test_lint_beside_the_tests_is_reported_after_them_and_either_fails_the_whole(
    fails: str, said: list[str], tmp_path: Path
) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here: apt-get install make")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "ran $*"\ncase "$*" in *"$FAILS"*) exit 7;; esac\n')
    python.chmod(0o755)
    environment = {**os.environ, "FAILS": fails or "nothing"}
    for target in ("check", "test"):
        done = subprocess.run(
            ["make", "-o", f"{tmp_path}/.mgkit-env", f"VENV={tmp_path}", target],
            cwd=ROOT, capture_output=True, text=True, env=environment,
        )  # fmt: skip
        ran = re.findall(r"^ran -m (\w+)", done.stdout, re.MULTILINE)
        assert ran == (["pytest", "ruff"] if "m " in fails else ["pytest", "ruff", "ruff", "mypy"])
        assert bool(done.returncode) == bool(fails)
        assert [line.split(",")[0] for line in done.stderr.splitlines() if " failed, see" in line] == said
