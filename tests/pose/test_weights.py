from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mgkit.cli import EXIT_USER_ERROR, main
from mgkit.errors import MgkitError
from mgkit.files import sha256_of, write_json
from mgkit.pose import estimators, weights
from mgkit.pose.weights import NETWORKS, cache, described, fetch, task_file


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if mediapipe were installed, and networks needed no description."""
    monkeypatch.setattr(estimators, "installed", lambda *names: "1")
    monkeypatch.setattr(weights, "described", lambda network, mean, deviation: network + f" {mean}".encode())


def made_wheel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mediapipe.whl"
    with zipfile.ZipFile(path, "w") as file:
        for name, (place, *_) in NETWORKS.items():
            file.writestr(f"mediapipe/modules/{place}.tflite", name)
    monkeypatch.setattr(weights, "WHEEL_SHA256", sha256_of(path))
    return path


def test_a_task_file_is_an_uncompressed_zip_of_six_networks(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(wheel=made_wheel(tmp_path, monkeypatch))
    assert path == cache() / "holistic-full.task" == task_file()
    assert "with_attention" not in str(NETWORKS)  # which the Holistic task refuses
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == sorted(f"{name}.tflite" for name in NETWORKS)
        assert {info.compress_type for info in file.infolist()} == {zipfile.ZIP_STORED}
        assert file.read("pose_detector.tflite") == b"pose_detector 127.5"
        assert file.read("pose_landmarks_detector.tflite") == b"pose_landmarks_detector 0.0"
    before = path.stat().st_mtime_ns
    assert fetch(wheel=tmp_path / "gone.whl") == path  # it is there
    assert path.stat().st_mtime_ns == before


def test_another_network_makes_another_quality(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pose_landmark_heavy.tflite").write_bytes(b"heavy")
    wheel = made_wheel(tmp_path, monkeypatch)
    path = fetch("heavy", network=tmp_path / "pose_landmark_heavy.tflite", wheel=wheel)
    with zipfile.ZipFile(path) as file:
        assert file.read("pose_landmarks_detector.tflite") == b"heavy 0.0"
    assert task_file("heavy") == path
    with pytest.raises(
        MgkitError, match=r"weights of holistic \(full\) are not here: `mgkit pose fetch` gets them once"
    ):
        task_file()
    with pytest.raises(MgkitError, match="give pose_landmark_lite.tflite as network"):
        fetch("lite", wheel=wheel)
    with pytest.raises(MgkitError, match="is in the wheel: leave network out"):
        fetch("full", network=tmp_path / "x", wheel=wheel)
    with pytest.raises(MgkitError, match="gone.tflite cannot be read"):
        fetch("lite", network=tmp_path / "gone.tflite", wheel=wheel)


def test_another_wheel_and_changed_weights_are_refused(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = made_wheel(tmp_path, monkeypatch)
    content = wheel.read_bytes()
    wheel.write_bytes(content + b" ")
    with pytest.raises(
        MgkitError, match=r"mediapipe.whl has the SHA-256 \w{64}, not \w{64}: it is another file"
    ):
        fetch(wheel=wheel)
    assert not cache().exists()
    with pytest.raises(MgkitError, match="there is no wheel"):
        fetch(wheel=tmp_path / "gone.whl")
    wheel.write_bytes(content)
    path = fetch(wheel=wheel)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(MgkitError, match="is not as it was made"):
        task_file()
    for record in ("{", "[]", None):  # damaged, of something else, or gone
        made_by = path.with_suffix(".json")
        made_by.unlink() if record is None else made_by.write_text(record)
        with pytest.raises(
            MgkitError, match="is not the one in holistic-full.json.*: delete it, then `mgkit pose"
        ):
            task_file()
    (tmp_path / "a.task").write_text("x")
    with pytest.raises(MgkitError, match=r"a.task is not a .task file"):
        task_file(model=tmp_path / "a.task")


def test_pip_is_asked_for_one_wheel_and_its_failure_is_a_sentence(
    here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def run(words: list[str], **settings: Any) -> SimpleNamespace:
        asked.append(words)
        return SimpleNamespace(returncode=1, stderr="ERROR: No matching distribution found\n\n")

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["pose", "fetch"]) == EXIT_USER_ERROR
    said = capsys.readouterr().err
    assert "pip cannot download mediapipe==0.10.21 (ERROR: No matching distribution found)" in said
    assert "--wheel" in said
    assert "pose: pip downloads mediapipe==0.10.21 for the weights in it" in said
    (words,) = asked
    assert words[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "mediapipe==0.10.21"} <= set(words)
    assert words[words.index("--python-version") + 1] == "312"


def test_a_task_file_in_another_place_needs_no_fetching(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.task", "w") as file:
        file.writestr("pose_detector.tflite", b"x")
    assert task_file(model=tmp_path / "mine.task") == tmp_path / "mine.task"
    cache().mkdir(parents=True)
    (cache() / "holistic-lite.task").write_bytes(b"x")
    write_json(cache() / "holistic-lite.json", {})
    with pytest.raises(MgkitError, match="then `mgkit pose fetch --quality lite --network FILE.tflite`"):
        task_file("lite")


def test_a_network_says_how_its_input_is_normalised() -> None:
    """Read back by the tables of the format: one entry, in place of what was there, and the network as it was."""
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("needs mediapipe, which is not installed: pip install 'mgkit[pose]'")
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as tables
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model, graph, tensor = schema.ModelT(), schema.SubGraphT(), schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = "input", [1, 8, 8, 3], 1
    graph.tensors, graph.inputs, graph.outputs = [tensor], [0], [0, 0]
    empty, numbers, old = schema.BufferT(), schema.BufferT(), schema.MetadataT()
    numbers.data, old.name, old.buffer = list(range(50)), "TFLITE_METADATA", 0
    model.subgraphs, model.buffers, model.metadata, model.version = [graph], [empty, numbers], [old], 3
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    out = described(bytes(builder.Output()), 127.5, 255.0)
    assert out[4:8] == b"TFL3"
    again = schema.ModelT.InitFromPackedBuf(out, 0)
    assert [entry.name for entry in again.metadata] == [b"TFLITE_METADATA"]
    assert bytes(bytearray(again.buffers[1].data)) == bytes(range(50))
    assert again.subgraphs[0].tensors[0].name == b"input"
    found = tables.ModelMetadataT.InitFromPackedBuf(
        bytes(bytearray(again.buffers[again.metadata[0].buffer].data)), 0
    )
    (whole,) = found.subgraphMetadata
    assert len(whole.outputTensorMetadata) == 2
    (picture,) = whole.inputTensorMetadata
    (step,) = picture.processUnits
    assert step.optionsType == tables.ProcessUnitOptions.NormalizationOptions
    assert (list(step.options.mean), list(step.options.std)) == ([127.5], [255.0])
    with pytest.raises(MgkitError, match="not a tflite file"):
        described(b"something else", 0, 1)


@pytest.mark.slow
def test_the_wheel_by_pip(tmp_path: Path) -> None:
    """Where pip finds it; the networks are accepted by mediapipe, see `test_estimators`."""
    if importlib.util.find_spec("mediapipe") is None:
        pytest.skip("needs mediapipe, which is not installed: pip install 'mgkit[pose]'")
    try:
        path = fetch()
    except MgkitError as error:
        pytest.skip(f"needs a network: {error}")
    with estimators.holistic(path) as estimate:
        import numpy as np

        points = estimate(np.zeros((1, 32, 32, 3), np.uint8), 25.0)
    assert np.isnan(points).all()
