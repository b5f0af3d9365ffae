"""With tiny networks of the same signature, made here; against rtmlib where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.data.skeletons import WHOLEBODY133
from mgkit.errors import MgkitError
from mgkit.pose.estimators import get_estimator
from tests.data.video.made import encode

onnx = pytest.importorskip("onnx", reason="needs onnx and onnxruntime: pip install onnx 'mgkit[rtmw]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'mgkit[rtmw]'")

from mgkit.pose.rtmw import Rtmw, rtmw  # noqa: E402

W, H = 48, 64


def saved(
    path: Path,
    nodes: list[Any],
    outputs: dict[str, list[Any]],
    constants: dict[str, np.ndarray],
    size: tuple[int, int],
) -> Path:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("input", kind, [1, 3, size[1], size[0]])],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def pose_network(path: Path, joints: int = 133) -> Path:
    """Each joint is where the red is highest, by its mean along the other axis, with a score of its own."""
    node = onnx.helper.make_node
    random = np.random.default_rng(0)
    constants = {
        "red": np.array([0], np.int64),
        "black": np.array([2.2], np.float32),  # is -2.1 once it is normalised
        "fine_x": np.repeat(np.eye(W, dtype=np.float32), 2, axis=1) * 0.7,
        "fine_y": np.repeat(np.eye(H, dtype=np.float32), 2, axis=1) * 0.7,
        "joint_x": random.uniform(0.7, 1, (1, joints, 1)).astype(np.float32),
        "joint_y": random.uniform(0.7, 1, (1, joints, 1)).astype(np.float32),
    }
    nodes = [
        node("Gather", ["input", "red"], ["dark"], axis=1),
        node("Add", ["dark", "black"], ["only"]),
        node("ReduceMean", ["only"], ["columns"], axes=[1, 2], keepdims=0),
        node("ReduceMean", ["only"], ["rows"], axes=[1, 3], keepdims=0),
        node("MatMul", ["columns", "fine_x"], ["x"]),
        node("MatMul", ["rows", "fine_y"], ["y"]),
        node("Mul", ["x", "joint_x"], ["simcc_x"]),
        node("Mul", ["y", "joint_y"], ["simcc_y"]),
    ]
    return saved(
        path, nodes, {"simcc_x": [1, joints, 2 * W], "simcc_y": [1, joints, 2 * H]}, constants, (W, H)
    )


def detector_network(path: Path) -> Path:
    """Two people and one who is not sure, always in the same boxes; the blue of the first pixel moves the first."""
    node = onnx.helper.make_node
    boxes = np.array([[[4, 6, 20, 30, 0.9], [30, 8, 50, 40, 0.8], [0, 0, 9, 9, 0.2]]], np.float32)
    constants = {
        "boxes": boxes,
        "nothing": np.zeros((1, 3, 5), np.float32),
        "axes": np.array([1, 2, 3], np.int64),
    }
    nodes = [
        node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=1),
        node("Squeeze", ["mean", "one"], ["flat"]),
        node("Mul", ["flat", "nothing"], ["zero"]),
        node("Add", ["zero", "boxes"], ["dets"]),
    ]
    constants["one"] = np.array([3], np.int64)
    del constants["axes"]
    return saved(path, nodes, {"dets": [1, 3, 5]}, constants, (64, 64))


def picture(seed: int, size: tuple[int, int] = (90, 120)) -> np.ndarray:
    frame = np.random.default_rng(seed).integers(0, 60, (*size, 3), dtype=np.uint8)
    frame[30:45, 50:60] = (250, 40, 20)
    return frame


def test_a_bright_square_is_found_in_pixels_of_the_frame(tmp_path: Path) -> None:
    network = Rtmw(pose_network(tmp_path / "pose.onnx"))
    person = network.look(picture(0), np.array([20, 10, 100, 80.0]))
    seen = np.isfinite(person).all(-1)
    assert seen.mean() > 0.9
    assert ((person[seen, 0] > 48) & (person[seen, 0] < 62)).all()
    assert ((person[seen, 1] > 28) & (person[seen, 1] < 47)).all()
    assert ((person[seen, 2] > 0) & (person[seen, 2] <= 1)).all()


def test_points_are_those_of_rtmlib(tmp_path: Path) -> None:
    tools = pytest.importorskip(
        "rtmlib.tools.pose_estimation.rtmpose", reason="needs rtmlib, which is not installed"
    )
    path = pose_network(tmp_path / "pose.onnx")
    other = tools.RTMPose(str(path), model_input_size=(W, H), backend="onnxruntime", device="cpu")
    ours, generator = Rtmw(path), np.random.default_rng(1)
    for seed in range(10):
        frame, corner = picture(seed), generator.uniform(0, 40, 2)
        box = np.concatenate([corner, corner + generator.uniform(20, 70, 2)])
        points, scores = other(frame, [box])  # given RGB, which its mean is of
        person = ours.look(frame, box)
        good = np.isfinite(person).all(-1)
        assert good.any()
        assert (
            person[good, 2] <= scores[0][good].clip(0, 1) + 1e-6
        ).all()  # the lower of two, there their mean
        assert np.median(np.linalg.norm(points[0][good] - person[good, :2], axis=-1)) < 0.6


def test_one_person_is_followed_and_forgotten_between_videos(tmp_path: Path) -> None:
    network = Rtmw(pose_network(tmp_path / "pose.onnx"))
    frames = np.stack([picture(0), picture(0)])
    first = network(frames, 25.0)
    assert first.shape == (1, 2, 133, 3)
    assert not np.array_equal(
        first[0, 0], first[0, 1], equal_nan=True
    )  # the second looks where the first was
    network.reset()
    assert np.array_equal(network(frames, 25.0), first, equal_nan=True)


def test_a_detector_gives_a_row_for_each_who_is_sure(tmp_path: Path) -> None:
    network = Rtmw(pose_network(tmp_path / "pose.onnx"), detector_network(tmp_path / "people.onnx"))
    frame = picture(3, (128, 96))  # twice the detector's height
    people = network.people(frame)
    assert np.allclose(people, [[8, 12, 40, 60], [60, 16, 100, 80]], atol=1e-3)
    assert network(frame[None], 25.0).shape == (2, 1, 133, 3)


def test_from_the_file_on(tmp_path: Path) -> None:
    path = pose_network(tmp_path / "pose.onnx")
    encode(tmp_path / "a.mp4", 6)
    poses = mg.pose.estimate(
        tmp_path / "a.mp4",
        tmp_path / "poses",
        "rtmw",
        model=path,
        layout="imigue22",
        workers=1,
        progress=False,
    )
    assert poses["a"].points.shape == (1, 6, 22, 3)
    assert poses["a"].skeleton.name == "imigue22"
    assert poses["a"].origin.estimator == "rtmw"
    assert any(entry["what"] == "hands seen" for entry in poses.report)
    with pytest.raises(MgkitError, match="rtmw finds one person in a picture"):
        mg.pose.estimate(
            tmp_path / "a.mp4", tmp_path / "all", "rtmw", model=path, person="all", progress=False
        )
    both = f"{path},{detector_network(tmp_path / 'people.onnx')}"
    poses = mg.pose.estimate(
        tmp_path / "a.mp4", tmp_path / "all", "rtmw", model=both, person="all", workers=1, progress=False
    )
    assert len(poses["a"].points) == 2
    assert poses["a"].skeleton == WHOLEBODY133


def test_what_is_no_such_network_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="rtmw needs an .onnx file of a network of 133 key-points"):
        get_estimator("rtmw")
    with pytest.raises(MgkitError, match=r"there is no network .*gone.onnx: correct --model"):
        get_estimator("rtmw", model=tmp_path / "gone.onnx")
    (tmp_path / "text.onnx").write_text("x")
    with pytest.raises(MgkitError, match="text.onnx cannot be used by onnxruntime"):
        get_estimator("rtmw", model=tmp_path / "text.onnx")
    body = pose_network(tmp_path / "body.onnx", joints=17)
    with pytest.raises(
        MgkitError, match=r"is a network from \[1, 3, 64, 48\] to .*17.*: rtmw needs one from"
    ):
        get_estimator("rtmw", model=body)
    good = pose_network(tmp_path / "pose.onnx")
    with (
        pytest.raises(MgkitError, match=r"rtmw needs one from \(1, 3, H, W\) to \(1, N, 5\)"),
        rtmw(good, good),
    ):
        pass
