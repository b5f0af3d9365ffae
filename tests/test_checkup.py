"""`mg.doctor()` on a sound machine, and with each thing broken in turn."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
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
from mgkit import checkup as looking
from mgkit import checkup as machine
from mgkit import checkup as versions
from mgkit import checkup as working
from mgkit import cli, notebook
from mgkit.checkup import Finding, Report, broken, note, ok
from mgkit.cli import commands

Patch = pytest.MonkeyPatch


def found(check: Any) -> dict[str, Finding]:
    return {finding.what: finding for finding in check()}


@pytest.fixture
def no_driver(monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine, "driver", lambda: "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_sound_machine() -> None:
    report = mg.doctor()
    assert report.ok, report
    assert {finding.group for finding in report.findings} == {group for group, _ in looking.CHECKS}
    assert report["torch"].found.startswith(importlib.metadata.version("torch"))
    assert "asked for" in report["decoder pyav"].found
    with pytest.raises(KeyError):
        _ = report["the weather"]


# ---------------------------------------------------------------------------------------------------------------------
# The report


def test_a_report_as_text_and_as_page() -> None:
    report = Report(
        (
            Finding("torch", "2.14", group="Packages"),
            Finding("av", "1 < 17 & <old>", "broken", "pip install <av>", "Packages"),
            Finding("disk", "2 GiB " * 40, "note", "make room " * 30, "Machine"),
        )
    )
    text, page = repr(report), report._repr_html_()
    assert max(map(len, text.splitlines())) <= 110
    assert text.splitlines()[0] == "Packages"
    assert "  BROKEN  av" in text
    assert "-> pip install <av>" in text
    assert text.endswith("Broken: av; 1 note. What to do stands beside each.")
    assert "1 &lt; 17 &amp; &lt;old&gt;" in page
    assert "<old>" not in page
    assert page.count("<tr>") == 5
    assert not report.ok
    assert [finding.what for finding in report.broken] == ["av"]
    assert repr(Report(())).endswith("Nothing is broken; 0 notes.")


def test_a_check_that_fails_is_a_finding(monkeypatch: Patch) -> None:
    def odd_thing() -> Iterator[Finding]:
        yield ok("first", "fine")
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(
        looking, "CHECKS", (("Odd", odd_thing), ("Other", lambda: iter([note("x", "y", "z")])))
    )
    report = mg.doctor()
    assert [(f.group, f.what, f.state) for f in report.findings] == [
        ("Odd", "first", "ok"), ("Odd", "odd thing", "broken"), ("Other", "x", "note")
    ]  # fmt: skip
    assert "RuntimeError: two lines" in report["odd thing"].found
    assert report["odd thing"].advice


@pytest.mark.parametrize("state", ["ok", "broken"])
def test_from_a_shell(state: str, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(looking, "CHECKS", (("All", lambda: iter([Finding("x", "y", state, "mend it")])),))
    assert cli.main(["doctor"]) == (0 if state == "ok" else commands.EXIT_BROKEN)
    assert "mend it" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------------------
# Versions


def test_the_ranges_are_those_of_pyproject() -> None:
    python, asked = versions.asked_for()
    assert python == ">=3.11"
    assert ("torch", ">=2.11") in asked
    names = [name for name, _ in asked]
    assert "pytest" not in names
    assert len({"decord", "decord2"} & set(names)) == 1  # the one for this machine


def test_the_ranges_where_there_is_no_checkout(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: {"Requires-Python": ">=3.11"})
    lines = ["torch>=2.11", 'pytest>=8; extra == "dev"', 'x>1; python_version < "3"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    assert versions.asked_for() == (">=3.11", [("torch", ">=2.11")])
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "another"\n'
    )  # a folder that mgkit was copied into
    assert versions.asked_for() == (">=3.11", [("torch", ">=2.11")])


def test_python_that_does_not_suit(monkeypatch: Patch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.9.2")
    python = found(versions.python_and_mgkit)["Python"]
    assert python.state == "broken"
    assert "3.9.2" in python.found


@pytest.mark.parametrize(("package", "state"), [("anywidget", "broken"), ("decord", "note")])
def test_packages_that_are_missing_old_or_do_not_load(package: str, state: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(versions, "asked_for", lambda: ("", [(package, ">=0.9")]))

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    one = found(versions.packages)[package]
    assert (one.state, one.advice) == (state, f'python -m pip install "{package}>=0.9"')
    assert "not installed" in one.found
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.8.1")
    one = found(versions.packages)[package]
    assert (one.state, one.found) == (state, "0.8.1, asked for is >=0.9")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")

    def fails(name: str) -> ModuleType:
        raise OSError("libx.so:\n no such file")

    monkeypatch.setattr(importlib, "import_module", fails)
    one = found(versions.packages)[package]
    assert (one.state, one.found) == (state, "1.0, but it does not load: OSError: libx.so: no such file")
    assert "--force-reinstall" in one.advice


def test_a_package_that_is_only_looked_for(monkeypatch: Patch) -> None:
    monkeypatch.setattr(versions, "asked_for", lambda: ("", [("umap-learn", ">=0.5")]))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert found(versions.packages)["umap-learn"].found.endswith("there is no module umap")


def test_git_and_optional_packages(monkeypatch: Patch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    rows = found(versions.optional)
    assert {row.state for name, row in rows.items() if name != "git"} == {"ok"}
    assert rows["git"].state == "note"


# ---------------------------------------------------------------------------------------------------------------------
# Machine


@pytest.mark.usefixtures("no_driver")
def test_no_gpu_is_no_error() -> None:
    gpu = found(machine.device)["GPU"]
    assert gpu.state == "ok"
    assert not gpu.advice


@pytest.mark.usefixtures("no_driver")
@pytest.mark.parametrize(("built", "state"), [(None, "note"), ("12.8", "broken")])
def test_a_driver_that_torch_cannot_use(built: str | None, state: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine, "driver", lambda: "470.1")
    monkeypatch.setattr(torch.version, "cuda", built)
    gpu = found(machine.device)["GPU"]
    assert gpu.state == state
    assert "470.1" in gpu.found
    assert gpu.advice


@pytest.mark.parametrize(
    ("free", "bf16", "error", "state", "said"),
    [
        (70, True, None, "ok", "70.0 of 80.0 GiB free"),
        (2, True, None, "note", "2.0 of 80.0"),
        (70, False, None, "note", "bf16 no"),
        (70, True, RuntimeError("no kernel image is available"), "broken", "no kernel image"),
    ],
)
def test_gpus(
    free: int, bf16: bool, error: Exception | None, state: str, said: str, monkeypatch: Patch
) -> None:
    plain = torch.ones

    def ones(*size: int, device: str) -> torch.Tensor:
        if error is not None:
            raise error
        return plain(*size)

    monkeypatch.setattr(machine, "driver", lambda: "580.1")
    monkeypatch.setattr(torch, "ones", ones)
    for name, value in {
        "is_available": lambda: True, "device_count": lambda: 2, "is_bf16_supported": lambda: bf16,
        "mem_get_info": lambda i: (free << 30, 80 << 30), "get_device_name": lambda i: "A GPU",
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    rows = found(machine.device)
    assert rows["GPU 0"].state == rows["GPU 1"].state == state
    assert said in rows["GPU 1"].found


def test_the_driver_is_asked_for_its_version(monkeypatch: Patch) -> None:
    if Path("/proc/driver/nvidia/version").is_file():
        assert machine.driver()
        return
    monkeypatch.setattr(shutil, "which", lambda name: "nvidia-smi")
    answer = SimpleNamespace(returncode=0, stdout="580.65.06\n580.65.06\n")
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: answer)
    assert machine.driver() == "580.65.06"
    answer.returncode = 9  # "couldn't communicate with the NVIDIA driver"
    assert machine.driver() == ""

    def late(*words: Any, **options: Any) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 5)

    monkeypatch.setattr(subprocess, "run", late)
    assert machine.driver() == ""


@pytest.mark.parametrize(("left", "state"), [(100, "ok"), (2, "note"), (0.1, "broken")])
def test_memory_and_disk(left: float, state: str, monkeypatch: Patch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(left * 2**30))
    monkeypatch.setattr(machine, "memory_left", lambda: int(left * 2**30))
    rows = found(machine.memory_and_disk)
    assert rows["disk"].state == state
    assert rows["memory"].state == ("ok" if left == 100 else "note")


def test_a_folder_that_cannot_be_written(monkeypatch: Patch) -> None:
    def refused(dir: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    assert found(machine.memory_and_disk)["writing"].state == "note"


# ---------------------------------------------------------------------------------------------------------------------
# Video, widgets, fonts


def test_no_encoder(monkeypatch: Patch) -> None:
    monkeypatch.setattr("av.codecs_available", {"h264"})
    rows = found(working.video)
    assert list(rows) == ["encoder libx264"]
    assert rows["encoder libx264"].state == "broken"


def test_an_encoder_that_fails(monkeypatch: Patch) -> None:
    def fails(*arguments: Any) -> int:
        raise mg.MgkitError("clip.mp4 cannot be written")

    monkeypatch.setattr("mgkit.data.video.write_video", fails)
    row = found(working.video)["encoder libx264"]
    assert row.state == "broken"
    assert "cannot be written" in row.found


def test_decoders_that_read_other_frames_or_none(monkeypatch: Patch) -> None:
    def shifted(path: Path, indices: list[int], library: str) -> np.ndarray:
        if library == "decord":
            raise ValueError("no such codec")
        return np.stack([np.full((2, 2, 3), 20 + 20 * (i + 1), np.uint8) for i in indices])

    monkeypatch.setattr("mgkit.data.video.read_frames", shifted)
    rows = found(working.video)
    assert rows["decoder pyav"].state == "broken"
    assert "[10, 1, 6] came" in rows["decoder pyav"].found
    if "decoder decord" in rows:
        assert rows["decoder decord"].state == "note"


@pytest.mark.parametrize(("where", "state"), [(notebook.JUPYTER, "broken"), (notebook.PLAIN, "note")])
def test_lab_extensions(where: str, state: str, monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(notebook, "place", lambda: where)
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda name: [str(tmp_path / name)])
    monkeypatch.setattr("jupyter_core.paths.jupyter_config_path", lambda: [str(tmp_path)])
    folder = tmp_path / "labextensions" / "anywidget"
    what = "lab extension anywidget"
    assert found(working.widgets)[what].state == state
    folder.mkdir(parents=True)
    (folder / "package.json").write_text("{}")
    assert found(working.widgets)[what].state == "ok"
    (tmp_path / "labconfig").mkdir()
    page = tmp_path / "labconfig" / "page_config.json"
    page.write_text(json.dumps({"disabledExtensions": {"anywidget": True}}))
    row = found(working.widgets)[what]
    assert (row.state, "enable anywidget" in row.advice) == (state, True)
    page.write_text(json.dumps({"disabledExtensions": {"anywidget": False}}))
    assert found(working.widgets)[what].state == "ok"


def test_widgets_in_vs_code_need_no_extension_of_lab(monkeypatch: Patch) -> None:
    monkeypatch.setattr(notebook, "place", lambda: notebook.VSCODE)
    assert list(found(working.widgets)) == ["running in"]


def test_fonts(monkeypatch: Patch) -> None:
    from matplotlib.font_manager import fontManager

    def fonts(*names: str) -> None:
        monkeypatch.setattr(fontManager, "ttflist", [SimpleNamespace(name=name) for name in names])

    fonts("STIXGeneral", "DejaVu Sans", "Noto Sans CJK SC")
    assert {row.state for row in working.fonts()} == {"ok"}
    fonts("DejaVu Sans")
    rows = found(working.fonts)
    assert rows["fonts of figures"].state == "broken"
    assert rows["other scripts"].state == "note"


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


def test_colab_is_told_to_show_custom_widgets(monkeypatch: Patch) -> None:
    calls: list[int] = []
    put_colab(monkeypatch, lambda: calls.append(1))
    monkeypatch.setattr(notebook, "_shell", lambda: Shell(True))
    assert notebook.place() == notebook.COLAB
    assert "in Colab" in mg.set_up_notebook()
    assert len(calls) == 1
    rows = found(working.widgets)
    assert rows["Colab's custom widgets"].state == "ok"
    assert len(calls) == 2

    def fails() -> None:
        raise AttributeError("gone")

    put_colab(monkeypatch, fails)
    assert found(working.widgets)["Colab's custom widgets"].state == "broken"


@pytest.mark.usefixtures("no_driver")
def test_setting_up_goes_on_without_a_gpu() -> None:
    line = mg.set_up_notebook()
    assert mg.__version__ in line
    assert "without a GPU" in line
    assert "\n" not in line


def test_setting_up_names_the_gpu(monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (70 << 30, 80 << 30))
    assert mg.set_up_notebook().endswith("on A GPU (70 of 80 GiB free)")


def test_what_findings_are() -> None:
    assert ok("a", "b").state == "ok"
    assert broken("a", "b", "c") == Finding("a", "b", "broken", "c")
