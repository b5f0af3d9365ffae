"""What a run says of new videos: the numbers of `mg.test`, windows that are those of `prepare`, and resuming."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import mgkit as mg
from mgkit.cli import EXIT_USER_ERROR, main
from mgkit.data.clips import Classes, Clips
from mgkit.data.keypoints import KeyPoints, Origin
from mgkit.data.prepare.cut import Source
from mgkit.data.readers import RawClip, RawDataset
from mgkit.data.skeletons import PENN13, Skeleton
from mgkit.data.video import write_video
from mgkit.errors import MgkitError
from mgkit.files import write_json
from mgkit.pickles import write_pickle
from mgkit.progress import Progress
from mgkit.results.run.folder import Run, load_run
from mgkit.results.scores.prediction import Prediction, PredictionList, load_prediction
from mgkit.training import inference, recipes
from mgkit.training import predict as module
from tests.data.video.made import encode
from tests.made.points import person
from tests.training.training import untrained

pytestmark = pytest.mark.slow

SIZE = (96, 64)
LONG = 120  # frames of the untrimmed video


class Raw(NamedTuple):
    """Videos as a researcher has them, each with its key-points in `<name>.npz` next to it."""

    root: Path
    poses: dict[str, np.ndarray]  # (1, T, 13, 3)


def film(path: Path, pose: np.ndarray, colour: int) -> None:
    """A coloured square that goes with the wrist, in front of a soft pattern."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    ground = np.stack([90 + x / 2, 110 + y / 2, 130 - x / 3], -1).astype(np.uint8)

    def frames() -> Iterator[np.ndarray]:
        for points in pose[0]:
            picture = ground.copy()
            a, b = np.clip(points[5, :2].astype(int), 6, np.array(SIZE) - 7)
            picture[b - 5 : b + 5, a - 5 : a + 5] = (200, 60, 60) if colour else (60, 60, 200)
            yield picture

    write_video(path, frames(), 25)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    root = tmp_path_factory.mktemp("raw")
    poses = {}
    for i in range(8):
        pose = person(12 + 2 * (i % 3), (48, 32), 50, seed=i)[None]
        poses[f"v{i}"] = pose
    poses["long"] = person(LONG, (44, 32), 50, seed=9, walk=0.05)[None]
    (root / "long").mkdir()
    for name, pose in poses.items():
        folder = root / "long" if name == "long" else root
        film(folder / f"{name}.mp4", pose, int(name[-1] in "1357"))
        np.savez(folder / f"{name}.npz", points=pose, fps=25.0, size=SIZE)
    return Raw(root, poses)


@pytest.fixture(scope="module")
def clips(raw: Raw, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Those videos prepared, and two spans of the untrimmed one."""
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2

    def read(source: Path) -> RawDataset:
        found = [
            RawClip(
                f"v{i}", splits[i], i % 2, video=raw.root / f"v{i}.mp4", pose=lambda i=i: raw.poses[f"v{i}"]
            )
            for i in range(8)
        ]
        found += [
            RawClip(
                f"long{a}", "test", 0, video=raw.root / "long" / "long.mp4", start=a, end=b,
                pose=lambda a=a, b=b: raw.poses["long"][:, a:b],
            )
            for a, b in ((0, 14), (33, 47))
        ]  # fmt: skip
        return RawDataset(found, Classes(("blue", "red")), PENN13, [])

    folder = tmp_path_factory.mktemp("clips")
    return mg.prepare(read, folder / "source", folder / "out", size=32, workers=1, progress=False)


@pytest.fixture(scope="module")
def both(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = recipes.demo(
        rgb_frames=2, pose_frames=8, rgb_size=32, heatmap_size=8, rgb_width=4, pose_width=4, embedding_dim=8
    )
    return untrained(clips, recipe, tmp_path_factory.mktemp("runs") / "both")


@pytest.fixture(scope="module")
def pose(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = recipes.narrow(
        recipes.stgcnpp(stream="bone-motion", centre="moving body", joints=("upper",)),
        width=8, blocks=(1, 1, 1), embedding_dim=8, pose_frames=8, prototypes=True,
    )  # fmt: skip
    return untrained(clips, recipe, tmp_path_factory.mktemp("runs") / "pose")


def ask(run: Run | Path, source: Any, **options: Any) -> Any:
    return mg.predict(run, source, **{"device": "cpu", "progress": False, **options})


def assert_same(one: Prediction, row: int, test: Any, run: Run, clip_id: str, atol: float = 1e-6) -> None:
    """A window has the scores, embeddings and distances that a test gives a clip."""
    at = test.rows([clip_id])[0]
    for name in test.outputs:
        np.testing.assert_allclose(one.probabilities[name][row], test.probabilities[name][at], atol=atol)
    embeddings = run.embeddings("test")
    for name, vectors in embeddings.vectors.items():
        np.testing.assert_allclose(
            one.vectors[name][row], vectors[embeddings.rows([clip_id])[0]], atol=10 * atol
        )
    for name, own in test.own.items():
        label = test.labels[at]
        np.testing.assert_allclose(one.distances(name)[row, label], own[at], atol=10 * atol)


@pytest.mark.parametrize(
    "options",
    [{}, {"views": 3, "flip": True, "weights": {"rgb": 3.0, "pose": 1.0}, "rectification": 2.0}],
    ids=["one view", "views"],
)
def test_a_prepared_clip_has_the_numbers_of_test(both: Run, clips: Clips, options: dict[str, Any]) -> None:
    test = mg.test(both, "test", device="cpu", workers=0, progress=False, **options)
    ids = ["v6", "v7"]
    found = ask(both, [clips.video(clip_id) for clip_id in ids], **options)
    assert isinstance(found, PredictionList)
    for one, clip_id in zip(found, ids, strict=True):
        assert len(one) == 1
        assert_same(one, 0, test, both, clip_id)


def test_a_raw_video_has_them_but_for_the_compression(both: Run, pose: Run, raw: Raw, clips: Clips) -> None:
    """Of key-points alone nothing differs; pictures are those that `prepare` encodes, before that."""
    test = mg.test(pose, "test", device="cpu", workers=0, progress=False)
    assert_same(ask(pose, raw.root / "v6.mp4"), 0, test, pose, "v6")
    one = ask(both, raw.root / "v6.mp4", poses=raw.root / "v6.npz")
    assert_same(one, 0, mg.test(both, "test", device="cpu", workers=0, progress=False), both, "v6", atol=0.02)
    seen = one.clips()
    every = np.arange(int(seen.row("v6")["frames"]))
    np.testing.assert_array_equal(seen.pose("v6"), clips.pose("v6"))
    apart = np.abs(seen.frames("v6", every).astype(int) - clips.frames("v6", every).astype(int))
    assert 0 < apart.mean() < 3
    assert seen.row("v6")["crop_x"] == clips.row("v6")["crop_x"]


@pytest.mark.parametrize("kind", ["both", "pose"])
def test_windows_of_a_long_video_are_clips_of_it(
    both: Run, pose: Run, raw: Raw, kind: str, tmp_path: Path
) -> None:
    run = both if kind == "both" else pose
    test = mg.test(run, "test", device="cpu", workers=0, progress=False)
    one = ask(run, raw.root / "long" / "long.mp4", out=tmp_path, window=14 / 25, stride=3 / 25)
    np.testing.assert_array_equal(one.frames[:, 0], np.arange(0, LONG - 14 + 1, 3))
    np.testing.assert_array_equal(one.frames[:, 1] - one.frames[:, 0], 14)
    np.testing.assert_allclose(one.seconds, one.frames / 25)
    for start in (0, 33):
        assert_same(one, start // 3, test, run, f"long{start}", atol=1e-6 if kind == "pose" else 0.02)
    assert one.path == tmp_path / "long.npz"
    assert (one.seen == 1).all()


def test_a_video_is_windows_where_it_is_longer_than_a_clip(pose: Run, raw: Raw, tmp_path: Path) -> None:
    assert pose.clip_shape() == (13, 16, 25.0, 32, True, "")
    assert len(ask(pose, raw.root / "v2.mp4")) == 1
    long = raw.root / "long" / "long.mp4"
    one = ask(pose, long, out=tmp_path)
    assert (one.frames[:, 1] - one.frames[:, 0] == 13).all()
    assert np.diff(one.frames[:, 0]).tolist() == [3] * (len(one) - 1)
    assert ask(pose, long, whole=True).frames.tolist() == [[0, LONG]]
    several = ask(pose, long, window=(0.4, 0.81), stride=0.4, out=tmp_path / "several")
    assert {int(b - a) for a, b in several.frames} == {10, 20}
    both_lengths = Counter(several.times.round(6).tolist())
    assert Counter(both_lengths.values())[2] > 5  # in the middle both lengths have the same middles
    with pytest.raises(MgkitError, match=r"lasts 0.56 s, less than a window of 2 s"):
        ask(pose, raw.root / "v1.mp4", window=2)


def test_windows_of_a_video_of_variable_rate_have_the_seconds_of_a_player(
    pose: Run, raw: Raw, tmp_path: Path
) -> None:
    count = 60
    times = np.cumsum([0, *[20, 20, 80, 40] * count])[:count]
    video = encode(tmp_path / "phone.mp4", count, size=SIZE[::-1], times=times.tolist())
    one = ask(pose, video, poses=raw.poses["long"][:, :count], window=0.6, stride=0.1)
    step = times[-1] / (count - 1) / 1000
    ends = np.append(times / 1000, times[-1] / 1000 + step)
    np.testing.assert_allclose(one.seconds, ends[one.frames], atol=2e-3)
    np.testing.assert_allclose(load_prediction(tmp_path / "phone.prediction.npz").seconds, one.seconds)


def test_no_frame_is_decoded_twice(
    both: Run, raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[int] = Counter()
    real = Source.frames

    def counted(self: Source, needed: np.ndarray) -> Iterator[Any]:
        for number, frame in real(self, needed):
            asked[number] += 1
            yield number, frame

    monkeypatch.setattr(Source, "frames", counted)
    monkeypatch.setattr(module, "CHUNK", 5)
    one = ask(both, raw.root / "long" / "long.mp4", window=(0.4, 0.8), stride=0.08, views=2, out=tmp_path)
    assert len(one) > 80
    assert set(asked.values()) == {1}


def test_chunks_and_batches_change_nothing(
    both: Run, raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [raw.root / "v0.mp4", raw.root / "long" / "long.mp4", raw.root / "v1.mp4"]
    first = ask(both, sources, out=tmp_path / "a")
    monkeypatch.setattr(module, "CHUNK", 3)
    second = ask(both, sources, out=tmp_path / "b", batch_size=2)
    assert [one.name for one in first] == [one.name for one in second] == ["v0", "long", "v1"]
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.frames, two.frames)
        for name in one.outputs:
            np.testing.assert_allclose(one.probabilities[name], two.probabilities[name], atol=1e-5)


# --- resuming -------------------------------------------------------------------------------------------------------


def killed(run: str, video: str, out: str, calls: int) -> None:
    """Predict in a process of its own that dies, as by `kill -9`, before it answers the chunk of this number."""
    module.CHUNK, module.SAVED_EVERY = 6, 0.0
    real, count = inference.predict, 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            os._exit(9)
        return real(*arguments, **options)

    inference.predict = dying  # type: ignore[assignment]
    ask(Path(run), Path(video), out=out)


def test_what_a_killed_call_has_answered_is_not_asked_again(
    pose: Run,
    raw: Raw,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forkserver: ForkServerContext,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = raw.root / "long" / "long.mp4"
    want = ask(pose, video, out=tmp_path / "want")
    child = forkserver.Process(target=killed, args=(str(pose.root), str(video), str(tmp_path / "out"), 3))
    child.start()
    child.join(120)
    assert child.exitcode == 9
    assert not (tmp_path / "out" / "long.npz").exists()
    parts = tmp_path / "out" / ".long.npz.parts"
    assert len(list(parts.glob("*.npz"))) == 3

    monkeypatch.setattr(module, "CHUNK", 6)
    asked: list[int] = []
    real = inference.predict

    def counting(model: Any, prototypes: Any, dataset: Any, **options: Any) -> Any:
        asked.append(len(dataset))
        return real(model, prototypes, dataset, **options)

    monkeypatch.setattr(inference, "predict", counting)
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr(Progress, "advance", lambda bar, n, total, text="": shown.append((n, total)))
    found = ask(pose, video, out=tmp_path / "out", progress=True)
    assert sum(asked) == len(want) - 18
    assert f"long: 18 of {len(want)} windows answered before" in capsys.readouterr().err
    assert sum(n for n, _ in shown) == len(want) - 18  # a bar over what is left, with its time
    assert {total for _, total in shown} == {len(want) - 18}
    assert not parts.exists()
    np.testing.assert_array_equal(found.frames, want.frames)
    for name in want.outputs:
        np.testing.assert_allclose(found.probabilities[name], want.probabilities[name], atol=1e-6)
    # A third call finds the file, and asks nothing.
    asked.clear()
    again = ask(pose, video, out=tmp_path / "out")
    assert not asked
    np.testing.assert_array_equal(again.probabilities["pose"], found.probabilities["pose"])
    assert len(again.clips([0, 1])) == 2


def test_another_prediction_is_not_overwritten_unasked(pose: Run, raw: Raw, tmp_path: Path) -> None:
    video = raw.root / "long" / "long.mp4"
    ask(pose, video, out=tmp_path, stride=0.4)
    with pytest.raises(MgkitError, match=r"was made with another windows: pass replace=True \(--replace\)"):
        ask(pose, video, out=tmp_path, stride=0.2)
    assert len(ask(pose, video, out=tmp_path, stride=0.2, replace=True)) > 15


# --- input of all kinds ---------------------------------------------------------------------------------------------


def test_key_points_alone(pose: Run, raw: Raw, tmp_path: Path) -> None:
    """An array, a .npy and a .npz give what the video with them gives."""
    want = ask(pose, raw.root / "v3.mp4").probabilities["pose"]
    points = raw.poses["v3"]
    np.save(tmp_path / "mine.npy", points)
    np.savez(tmp_path / "own.npz", points=points, size=SIZE)
    for source, stated in (
        (points, {"pose_size": SIZE, "pose_fps": 25}),
        (tmp_path / "mine.npy", {"pose_size": "96x64"}),
        (tmp_path / "own.npz", {}),
    ):
        np.testing.assert_allclose(ask(pose, source, **stated).probabilities["pose"], want, atol=1e-6)
    shares = points.copy()
    shares[..., :2] /= SIZE
    found = ask(pose, shares, pose_size=SIZE, pose_units="shares")
    np.testing.assert_allclose(found.probabilities["pose"], want, atol=1e-5)
    folder = ask(pose, tmp_path, pose_size=SIZE)
    assert [one.name for one in folder] == ["mine", "own"]


def test_annotations_of_a_pickle(pose: Run, raw: Raw, tmp_path: Path) -> None:
    """Each gives what its key-points give, in the layout that the meta file names, too; one with nobody is left out."""
    want = ask(pose, raw.poses["v3"], pose_size=SIZE).probabilities["pose"]
    more = Skeleton("more", ("extra", *PENN13.joints), (), ())

    def annotation(points: np.ndarray, name: str) -> dict[str, Any]:
        xy, score = np.nan_to_num(points[..., :2]), np.nan_to_num(points[..., 2])
        frame = {"img_shape": SIZE[::-1], "total_frames": points.shape[1]}
        return {"frame_dir": name, "keypoint": xy, "keypoint_score": score, **frame}

    write_pickle(tmp_path / "a.pkl", [annotation(raw.poses[name], name) for name in ("v3", "v4")])
    found = ask(pose, tmp_path / "a.pkl")
    assert [one.name for one in found] == ["v3", "v4"]
    np.testing.assert_allclose(found[0].probabilities["pose"], want, atol=1e-5)
    wide = np.concatenate([np.full_like(raw.poses["v3"][:, :, :1], 5), raw.poses["v3"]], axis=2)
    nobody = {"frame_dir": "empty", "keypoint": [], "img_shape": SIZE[::-1], "total_frames": 9}
    write_pickle(tmp_path / "b.pkl", {"annotations": [annotation(wide, "v3"), nobody], "split": {}})
    write_json(tmp_path / "b.meta.json", {"skeleton": more.to_dict()})
    found = ask(pose, tmp_path / "b.pkl")
    np.testing.assert_allclose(found[0].probabilities["pose"], want, atol=1e-5)
    assert set(found.left_out) == {"empty"}
    (tmp_path / "b.meta.json").unlink()
    with pytest.raises(MgkitError, match=r"b\.pkl: 'keypoint' of clip 'v3' has shape"):
        ask(pose, tmp_path / "b.pkl")


def test_key_points_are_found_by_the_way_to_their_video(pose: Run, raw: Raw, tmp_path: Path) -> None:
    """`mgkit pose` was given some folder above them."""
    for name in ("v3", "v4"):
        target = tmp_path / "videos" / name / "same.mp4"
        target.parent.mkdir(parents=True)
        target.symlink_to(raw.root / f"{name}.mp4")
        (tmp_path / "poses" / name).mkdir(parents=True)
        np.savez(tmp_path / "poses" / name / "same.npz", points=raw.poses[name], fps=25.0, size=SIZE)
    for name in ("v3", "v4"):
        one = ask(pose, tmp_path / "videos" / name / "same.mp4", poses=tmp_path / "poses")
        want = ask(pose, raw.root / f"{name}.mp4").probabilities["pose"]
        np.testing.assert_allclose(one.probabilities["pose"], want, atol=1e-6)


def test_a_folder_of_videos(pose: Run, raw: Raw, tmp_path: Path) -> None:
    """Each has an answer of its own; a file that cannot be used is left out, by name."""
    for name in ("v0", "v5"):
        (tmp_path / f"{name}.mp4").write_bytes((raw.root / f"{name}.mp4").read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    (tmp_path / "poses").mkdir()
    for name in ("v0", "v5", "broken"):
        np.savez(tmp_path / "poses" / f"{name}.npz", points=raw.poses[name if name != "broken" else "v0"])
    found = ask(pose, tmp_path)
    assert [one.name for one in found] == ["v0", "v5"]
    assert "is not a video" in found.left_out["broken"]
    one = ask(pose, raw.root / "v5.mp4")
    np.testing.assert_allclose(found[1].probabilities["pose"], one.probabilities["pose"], atol=1e-6)
    assert not list(tmp_path.glob("*.prediction.npz"))  # clips are not saved unasked
    ask(pose, tmp_path, out=tmp_path / "said")
    assert load_prediction(tmp_path / "said" / "v5.npz").predicted() == one.predicted()


def test_key_points_are_estimated_on_the_way(pose: Run, raw: Raw, tmp_path: Path) -> None:
    """By a function, which is asked once; its points are those that a file of them gives."""
    video = tmp_path / "v2.mp4"
    video.write_bytes((raw.root / "v2.mp4").read_bytes())
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n\n\n"
        "def estimate(frames, fps):\n"
        f"    return np.load({str(tmp_path / 'points.npy')!r})[:, : len(frames)]\n\n\n"
        "estimate.layout = 'penn13'\n"
    )
    np.save(tmp_path / "points.npy", raw.poses["v2"])
    estimator = f"{tmp_path / 'mine.py'}:estimate"
    one = ask(pose, video, estimator=estimator)
    want = ask(pose, raw.root / "v2.mp4")
    np.testing.assert_allclose(one.probabilities["pose"], want.probabilities["pose"], atol=1e-6)
    assert (tmp_path / "poses" / "v2.npz").is_file()
    assert [entry["what"] for entry in one.notes] == ["another estimator"]
    (tmp_path / "mine.py").unlink()
    again = ask(pose, video, estimator=estimator)  # they are there
    np.testing.assert_array_equal(again.probabilities["pose"], one.probabilities["pose"])


def test_a_second_person_in_the_video_is_said(
    pose: Run, raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "v2.mp4"
    video.write_bytes((raw.root / "v2.mp4").read_bytes())
    both_people = np.concatenate([raw.poses["v2"] * (0.3, 0.3, 1), raw.poses["v2"]])

    def estimate(frames: np.ndarray, fps: float) -> np.ndarray:
        return both_people[:, : len(frames)]

    estimate.layout = "penn13"  # type: ignore[attr-defined]
    one = ask(pose, video, estimator=estimate, progress=True)
    want = ask(pose, raw.root / "v2.mp4")  # of the larger one alone
    np.testing.assert_allclose(one.probabilities["pose"], want.probabilities["pose"], atol=1e-6)
    count = len(both_people[0])
    detail = f"up to 2 in a frame, in {count} of {count} frames: one is followed"
    assert {"several people", "another estimator"} <= {entry["what"] for entry in one.notes}
    assert f"v2: several people, {detail}; another by person left" in capsys.readouterr().err


def test_key_points_are_smoothed_as_those_of_the_training(raw: Raw, tmp_path: Path) -> None:
    """Each window by itself, as `prepare` smooths each clip."""

    def read(source: Path) -> RawDataset:
        found = [
            RawClip(
                f"long{a}", "test", a % 2, video=raw.root / "long" / "long.mp4", start=a, end=a + 14,
                pose=lambda a=a: raw.poses["long"][:, a : a + 14],
            )
            for a in (0, 33)
        ]  # fmt: skip
        return RawDataset(found, Classes(("blue", "red")), PENN13, [])

    clips = mg.prepare(
        read, tmp_path / "source", tmp_path / "out", size=32, workers=1, progress=False, smooth="savgol7"
    )
    recipe = recipes.narrow(recipes.stgcnpp(), width=8, blocks=(1, 1, 1), embedding_dim=8, pose_frames=8)
    run = untrained(clips, recipe, tmp_path / "run")
    assert run.clip_shape().smooth == "savgol7"
    test = mg.test(run, "test", device="cpu", workers=0, progress=False)
    one = ask(run, raw.root / "long" / "long.mp4", out=tmp_path, window=14 / 25, stride=3 / 25)
    for start in (0, 33):
        assert_same(one, start // 3, test, run, f"long{start}")


def test_without_its_clip_folder(pose: Run, raw: Raw, clips: Clips, tmp_path: Path) -> None:
    import shutil

    moved = shutil.copytree(pose.root, tmp_path / "far" / "away" / "elsewhere")
    with pytest.raises(MgkitError, match="no longer"):
        load_run(moved).clips()
    np.testing.assert_allclose(
        ask(moved, raw.root / "v4.mp4").probabilities["pose"],
        ask(pose, raw.root / "v4.mp4").probabilities["pose"],
        atol=1e-6,
    )


def test_frames_that_cannot_be_decoded_cost_their_windows(
    both: Run, raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Source.frames

    def torn(self: Source, needed: np.ndarray) -> Iterator[Any]:
        return ((number, frame) for number, frame in real(self, needed) if not 32 <= number < 42)

    monkeypatch.setattr(Source, "frames", torn)
    one = ask(both, raw.root / "long" / "long.mp4", out=tmp_path)
    starts = one.frames[:, 0].tolist()
    assert starts[0] == 0
    assert starts[-1] > LONG - 17
    assert not any(22 <= start < 38 for start in starts)  # their frames 4 and 10 are wanted
    assert any(entry["what"] == "windows left out" for entry in one.notes)
    with pytest.raises(MgkitError, match="frame 37 .* cannot be decoded"):
        ask(both, raw.root / "long" / "long.mp4", whole=True)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_bad_input_is_one_sentence(both: Run, pose: Run, raw: Raw, tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes((raw.root / "v0.mp4").read_bytes())
    points = raw.poses["v0"]
    nobody = np.full_like(points, np.nan)

    def refused(run: Run, message: str, source: Any, **options: Any) -> None:
        with pytest.raises(MgkitError, match=message) as caught:
            ask(run, source, **options)
        assert "\n" not in str(caught.value)

    refused(pose, "there is no video .*nowhere.mp4", tmp_path / "nowhere.mp4")
    (tmp_path / "segments.csv").write_text("video,start,end,class\n", encoding="utf-8")
    refused(pose, "segments.csv is neither a video nor key-points", tmp_path / "segments.csv")
    refused(
        pose,
        "there are none .* and they cannot be estimated: there is no estimator 'x'",
        video,
        estimator="x",
    )
    refused(both, "the run reads pictures, and there are key-points only", points, pose_size=SIZE)
    refused(pose, "nobody is seen in any of its 12 frames", video, poses=nobody)
    refused(pose, r"key-points have shape \(1, 12, 12, 3\).*penn13", video, poses=points[:, :, :12])
    refused(pose, "key-points are not pixels", video, poses=points / (96, 64, 1))
    refused(pose, "no frame size", points)
    refused(pose, "there are no key-points .*none.npz", video, poses=tmp_path / "none.npz")
    refused(pose, "window is 0", video, poses=points, window=0)
    refused(pose, "one file for several", raw.root, out=tmp_path / "one.npz")
    refused(pose, "give a folder", raw.root, poses=points)
    np.savez(tmp_path / "odd.npz", scores=points)
    refused(pose, "odd.npz has no array 'points'", video, poses=tmp_path / "odd.npz")
    (tmp_path / "cut.mp4").write_bytes((raw.root / "long" / "long.mp4").read_bytes()[:3000])
    refused(pose, "^[^ ]*cut.mp4 is cut off", tmp_path / "cut.mp4", poses=points)

    def wrong(frames: np.ndarray, fps: float) -> np.ndarray:
        return np.zeros((1, len(frames), 16, 3))

    wrong.layout = "penn13"  # type: ignore[attr-defined]
    refused(pose, "^[^ ]*cut.mp4 is cut off", tmp_path / "cut.mp4", estimator=wrong)
    refused(pose, "there are none .* cannot be estimated: .* gave points of shape", video, estimator=wrong)
    (tmp_path / "empty").mkdir()
    refused(pose, "holds neither videos nor key-points", tmp_path / "empty")
    refused(both, "views is 0", video, poses=points, views=0)
    other = KeyPoints(points[:, :, :5], Skeleton("other", tuple("abcde"), (), ()), 25.0, SIZE, Origin("made"))
    other.write(tmp_path / "layout.npz")
    refused(
        pose, "layout.npz: the layout penn13 does not follow from other", video, poses=tmp_path / "layout.npz"
    )


# --- the command ----------------------------------------------------------------------------------------------------


def test_from_a_shell(pose: Run, raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(pose.root), str(raw.root / "v1.mp4"), "--device", "cpu"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith("v1: ")
    assert "nearest prototypes, pose: " in said
    assert main([*words[:3], str(raw.root / "v2.mp4"), "--device", "cpu", "--csv"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("name,start,end,class,probability")
    assert [row.split(",")[0] for row in rows[1:]] == ["v1", "v2"]
    assert main([*words, "--json"]) == 0
    import json

    (one,) = json.loads(capsys.readouterr().out)
    assert sum(one["windows"][0]["probabilities"]["pose"].values()) == pytest.approx(1, abs=1e-5)
    long = [
        "predict",
        str(pose.root),
        str(raw.root / "long" / "long.mp4"),
        "--out",
        str(tmp_path),
        "--stride",
        "0.2",
    ]
    assert main([*long, "--window", "0.5", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "windows of 0.48 s" in said
    assert "neighbouring windows of one class" in said
    assert (tmp_path / "long.npz").is_file()
    assert main(["predict", str(pose.root), str(tmp_path / "none.mp4")]) == EXIT_USER_ERROR
    assert capsys.readouterr().err.count("\n") == 1
