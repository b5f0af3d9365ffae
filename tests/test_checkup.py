"""`mg.doctor()` on a sound machine, and with each thing broken in turn."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import mgkit as mg
from mgkit import checkup, cli, notebook
from mgkit.checkup import Finding, Report

Patch = pytest.MonkeyPatch


def found(check: Any) -> dict[str, Finding]:
    return {finding.what: finding for finding in check()}


@pytest.fixture
def no_driver(monkeypatch: Patch) -> None:
    monkeypatch.setattr(checkup, "driver", lambda: "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_sound_machine() -> None:
    report = mg.doctor()
    assert report.ok, report
    names = {finding.what for finding in report.findings}
    assert names >= {
        "mgkit",
        "Python",
        "packages",
        "CPU",
        "memory",
        "disk",
        "video, encoding",
        "video, pyav",
        "widgets",
    }
    assert f"torch {importlib.metadata.version('torch')}" in found(checkup.versions)["packages"].found


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP")
@pytest.mark.parametrize(
    ("given", "first", "turns", "said"),
    [
        ({}, "", "1000", "sleep after 1000 turns of waiting (GOMP_SPINCOUNT)"),
        ({}, "sys.modules['torch'] = None; ", None, "spin for long while they wait: torch was imported before mgkit"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7", "sleep after 7 turns of waiting (GOMP_SPINCOUNT)"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "", None, "wait as OMP_WAIT_POLICY=ACTIVE says"),
    ],
    ids=["nothing set", "torch first", "a count set", "a policy set"],
)  # fmt: skip
def test_how_threads_wait(
    given: dict[str, str], first: str, turns: str | None, said: str, monkeypatch: Patch
) -> None:
    """In a new process, as it is set when mgkit is imported; never over what the user set."""
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = f"import os, sys; {first}import mgkit; print(os.environ.get('GOMP_SPINCOUNT'))"
    asked = [sys.executable, "-c", code]
    done = subprocess.run(asked, env=environment | given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(turns)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (given | ({} if turns is None else {"GOMP_SPINCOUNT": turns})).items():
        monkeypatch.setenv(name, value)
    finding = checkup.waiting_threads()
    assert finding.found == said
    assert (finding.state == "note") == bool(finding.advice) == (first != "")


def test_two_packages_of_opencv_are_seen(monkeypatch: Patch) -> None:
    """mediapipe brings opencv-contrib-python, which writes the cv2 of the headless one."""
    versions = {"opencv-python-headless": "5.0", "opencv-contrib-python": "5.1"}

    def version(name: str) -> str:
        if name in versions:
            return versions[name]
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", version)
    two = found(checkup.pictures)["OpenCV"]
    assert two.state == "note"
    assert two.found.startswith("opencv-python-headless 5.0 and opencv-contrib-python 5.1 write the same cv2")
    assert "--force-reinstall" in two.advice
    versions.pop("opencv-contrib-python")
    assert found(checkup.pictures)["OpenCV"] == Finding("OpenCV", "opencv-python-headless 5.0")
    monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))  # what is left after one of them was removed
    assert found(checkup.pictures)["OpenCV"].state == "broken"
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert found(checkup.pictures)["OpenCV"].state == "broken"


# ---------------------------------------------------------------------------------------------------------------------
# The report


def test_a_report_as_text() -> None:
    report = Report(
        (
            Finding("torch", "2.14"),
            Finding("av", "1 < 17", "broken", "pip install av"),
            Finding("disk", "2 GiB " * 40, "note", "free some space " * 30),
        )
    )
    lines = repr(report).splitlines()
    assert max(map(len, lines)) <= 110
    assert lines[0].split() == ["ok", "torch", "2.14"]
    assert lines[1].split() == ["BROKEN", "av", "1", "<", "17"]
    assert lines[2].strip() == "-> pip install av"
    assert lines[-1].startswith("Broken: av; 1 note.")
    assert not report.ok
    assert [finding.what for finding in report.broken] == ["av"]
    assert repr(Report(())).endswith("Nothing is broken; 0 notes.")


def test_a_check_that_fails_is_a_finding(monkeypatch: Patch) -> None:
    def odd_thing() -> Iterator[Finding]:
        yield Finding("first", "fine")
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(checkup, "CHECKS", (odd_thing, lambda: iter([Finding("x", "y", "note", "z")])))
    findings = mg.doctor().findings
    assert [(f.what, f.state) for f in findings] == [("first", "ok"), ("odd_thing", "broken"), ("x", "note")]
    assert "RuntimeError: two lines" in findings[1].found
    assert findings[1].advice


@pytest.mark.parametrize("state", ["ok", "broken"])
def test_from_a_shell(state: str, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checkup, "CHECKS", (lambda: iter([Finding("x", "y", state, "fix it")]),))
    assert cli.main(["doctor"]) == (0 if state == "ok" else 1)
    assert "fix it" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------------------
# Versions


def test_what_is_required_on_this_machine(monkeypatch: Patch) -> None:
    python, packages = checkup.required()
    assert python == ">=3.11"
    assert ("torch", ">=2.11") in packages
    names = [name for name, _ in packages]
    assert "pytest" not in names
    assert len({"decord", "decord2"} & set(names)) == 1  # the one for this machine
    lines = ["torch>=2.11", 'pytest>=8; extra == "dev"', 'x>1; python_version < "3"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert checkup.required() == (">=3.11", [("torch", ">=2.11")])


def test_a_python_that_is_too_old(monkeypatch: Patch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.9.2")
    python = found(checkup.versions)["Python"]
    assert python.state == "broken"
    assert "3.9.2" in python.found


@pytest.mark.parametrize(("package", "state"), [("anywidget", "broken"), ("decord", "note")])
def test_packages_that_are_missing_or_old(package: str, state: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(checkup, "required", lambda: (">=3.11", [(package, ">=0.9")]))

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    one = found(checkup.versions)[package]
    assert (one.state, one.found, one.advice) == (
        state, "not installed", f'python -m pip install "{package}>=0.9"'
    )  # fmt: skip
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.8.1")
    one = found(checkup.versions)[package]
    assert (one.state, one.found) == (state, "0.8.1, but >=0.9 is required")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    assert found(checkup.versions)["packages"].found == f"1 as required: {package} 1.0"


# ---------------------------------------------------------------------------------------------------------------------
# Machine


@pytest.mark.usefixtures("no_driver")
def test_no_gpu_is_no_error() -> None:
    gpu = found(checkup.device)["GPU"]
    assert gpu.state == "ok"
    assert not gpu.advice


@pytest.mark.usefixtures("no_driver")
@pytest.mark.parametrize(("built", "state"), [(None, "note"), ("12.8", "broken")])
def test_a_driver_that_torch_cannot_use(built: str | None, state: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(checkup, "driver", lambda: "470.1")
    monkeypatch.setattr(torch.version, "cuda", built)
    gpu = found(checkup.device)["GPU"]
    assert gpu.state == state
    assert "470.1" in gpu.found
    assert gpu.advice


@pytest.mark.parametrize(
    ("free", "bf16", "error", "state", "words"),
    [
        (70, True, None, "ok", "70.0 of 80.0 GiB free"),
        (2, True, None, "note", "2.0 of 80.0"),
        (70, False, None, "ok", "no bf16"),
        (70, True, RuntimeError("no kernel image is available"), "broken", "no kernel image"),
    ],
)
def test_gpus(
    free: int, bf16: bool, error: Exception | None, state: str, words: str, monkeypatch: Patch
) -> None:
    plain = torch.ones

    def ones(*size: int, device: str) -> torch.Tensor:
        if error is not None:
            raise error
        return plain(*size)

    monkeypatch.setattr(torch, "ones", ones)
    for name, value in {
        "is_available": lambda: True, "device_count": lambda: 2, "is_bf16_supported": lambda: bf16,
        "mem_get_info": lambda i: (free << 30, 80 << 30), "get_device_name": lambda i: "A GPU",
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    rows = found(checkup.device)
    assert rows["GPU 0"].state == rows["GPU 1"].state == state
    assert words in rows["GPU 1"].found


def test_a_gpu_that_computes_wrongly(monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *size, device: torch.zeros(*size))
    for name, value in {
        "mem_get_info": lambda i: (70 << 30, 80 << 30), "get_device_name": lambda i: "A GPU",
        "is_bf16_supported": lambda: True,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    assert checkup._gpu(0).state == "broken"


def test_the_version_of_the_driver(monkeypatch: Patch) -> None:
    answer = SimpleNamespace(returncode=0, stdout="580.65.06\n580.65.06\n")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: answer)
    assert checkup.driver() == "580.65.06"
    answer.returncode = 9  # "couldn't communicate with the NVIDIA driver"
    assert checkup.driver() == ""

    for error in (subprocess.TimeoutExpired("nvidia-smi", 5), FileNotFoundError()):

        def fails(*words: Any, error: Exception = error, **options: Any) -> None:
            raise error

        monkeypatch.setattr(subprocess, "run", fails)
        assert checkup.driver() == ""


@pytest.mark.parametrize(("left", "state"), [(100, "ok"), (2, "note"), (0.1, "broken")])
def test_memory_and_disk(left: float, state: str, monkeypatch: Patch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(left * 2**30))
    monkeypatch.setattr(checkup, "memory_left", lambda: int(left * 2**30))
    rows = found(checkup.memory_and_disk)
    assert rows["disk"].state == state
    assert bool(rows["disk"].advice) == (state != "ok")
    assert rows["memory"].state == ("ok" if left == 100 else "note")


def test_a_folder_that_cannot_be_written_to(monkeypatch: Patch) -> None:
    def refused(dir: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    assert found(checkup.memory_and_disk)["disk"].state == "note"


# ---------------------------------------------------------------------------------------------------------------------
# Video and widgets


def test_an_encoder_that_fails(monkeypatch: Patch) -> None:
    def fails(*arguments: Any) -> int:
        raise mg.MgkitError("clip.mp4 cannot be written")

    monkeypatch.setattr("mgkit.data.video.write_video", fails)
    rows = found(checkup.video)
    assert list(rows) == ["video, encoding"]
    assert rows["video, encoding"].state == "broken"
    assert "cannot be written" in rows["video, encoding"].found


def test_decoders_that_read_other_frames_or_none(monkeypatch: Patch) -> None:
    def shifted(path: Path, indices: list[int], library: str) -> np.ndarray:
        if library == "decord":
            raise ValueError("no such codec")
        return np.stack([np.full((2, 2, 3), 20 + 20 * (i + 1), np.uint8) for i in indices])

    monkeypatch.setattr("mgkit.data.video.read_frames", shifted)
    rows = found(checkup.video)
    assert rows["video, pyav"].state == "broken"
    assert "[10, 1, 6]" in rows["video, pyav"].found
    if "video, decord" in rows:
        assert rows["video, decord"].state == "note"


def test_lab_extensions(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(notebook, "place", lambda: notebook.JUPYTER)
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda name: [str(tmp_path / name)])
    for name in ("anywidget", "@jupyter-widgets/jupyterlab-manager"):
        row = found(checkup.widgets)["widgets"]
        assert row.state == "broken"
        assert name in row.found
        folder = tmp_path / "labextensions" / name
        folder.mkdir(parents=True)
        (folder / "package.json").write_text("{}")
    assert found(checkup.widgets)["widgets"].state == "ok"


@pytest.mark.parametrize("where", [notebook.VSCODE, notebook.PLAIN])
def test_places_that_need_no_extension_of_lab(where: str, monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(notebook, "place", lambda: where)
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda name: [str(tmp_path / name)])
    assert found(checkup.widgets)["widgets"].state == "ok"


# ---------------------------------------------------------------------------------------------------------------------
# Where it runs


class Shell:
    """A stand-in for IPython's shell."""

    def __init__(self, kernel: bool, **names: Any) -> None:
        self.user_ns = names
        if kernel:
            self.kernel = object()


def put_colab(monkeypatch: Patch, enable: Any) -> None:
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    colab, output = ModuleType("google.colab"), ModuleType("google.colab.output")
    output.enable_custom_widget_manager = enable  # type: ignore[attr-defined]
    colab.output = output  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)


@pytest.mark.parametrize(
    ("shell", "where"),
    [
        (None, notebook.PLAIN),
        (Shell(False), notebook.IPYTHON),
        (Shell(True), notebook.JUPYTER),
        (Shell(True, __vsc_ipynb_file__="/x.ipynb"), notebook.VSCODE),
    ],
)
def test_the_place(shell: Any, where: str, monkeypatch: Patch) -> None:
    monkeypatch.delenv("VSCODE_PID", raising=False)
    monkeypatch.setattr(notebook, "_shell", lambda: shell)
    assert notebook.place() == where


def test_colab_is_asked_to_show_custom_widgets(monkeypatch: Patch) -> None:
    calls: list[int] = []
    put_colab(monkeypatch, lambda: calls.append(1))
    monkeypatch.setattr(notebook, "_shell", lambda: Shell(True))
    assert notebook.place() == notebook.COLAB
    assert "in Colab" in mg.set_up_notebook()
    assert len(calls) == 1
    assert found(checkup.widgets)["widgets"].state == "ok"
    assert len(calls) == 2

    def fails() -> None:
        raise AttributeError("gone")

    put_colab(monkeypatch, fails)
    monkeypatch.setattr(checkup, "CHECKS", (checkup.widgets,))
    assert [finding.what for finding in mg.doctor().broken] == ["widgets"]


@pytest.mark.usefixtures("no_driver")
def test_setting_up_works_without_a_gpu() -> None:
    line = mg.set_up_notebook()
    assert mg.__version__ in line
    assert "without a GPU" in line
    assert "\n" not in line


def test_setting_up_names_the_gpu(monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (70 << 30, 80 << 30))
    assert mg.set_up_notebook().endswith("on A GPU (70 of 80 GiB free)")
