from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.clips import Classes, load_clips
from mgkit.data.prepare.cut import person_crop
from mgkit.data.prepare.folder import prepare
from mgkit.data.prepare.plan import MARGIN
from mgkit.data.readers import RawClip, RawDataset
from mgkit.data.report import report_lines
from mgkit.data.video import probe, read_frames, write_video
from mgkit.errors import MgkitError
from tests.data.video.made import encode, encode_sizes
from tests.tiny import TRIANGLE

W, H = 96, 64


def raw(folder: Path, *, clips: int = 3, frames: int = 6, video_frames: int | None = None) -> Path:
    """A pickle and videos: one bright dot on grey that is joint 0; joint 1 jumps above and below it, joint 2 unseen."""
    annotations, ids = [], [f"clip {i} ü" for i in range(clips)]
    for i, name in enumerate(ids):
        centre = np.stack([np.linspace(60, 66, frames) + i, np.full(frames, 30.0)], axis=1)
        points = np.zeros((1, frames, 3, 2), np.float32)
        points[0, :, 0], points[0, :, 1] = centre, centre
        points[0, :, 1, 1] += np.where(
            np.arange(frames) % 2, 20, -20
        )  # so that the dot is well inside the crop
        scores = np.ones((1, frames, 3), np.float32)
        scores[..., 2] = 0
        annotations.append(
            {"frame_dir": name, "label": i % 2, "total_frames": frames, "img_shape": (H, W), "keypoint": points,
             "keypoint_score": scores}
        )  # fmt: skip
        yy, xx = np.mgrid[:H, :W] + 0.5
        shown = [np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 18) for x, y in centre]
        shown += [shown[-1]] * ((video_frames or frames) - frames)
        pictures = [(60 + 180 * blob[..., None].repeat(3, -1)).astype(np.uint8) for blob in shown]
        write_video(folder / "videos" / f"{name}.mp4", pictures[: video_frames or frames], 25)
    (folder / "a.pkl").write_bytes(pickle.dumps({"annotations": annotations, "split": {"train": ids}}))
    return folder / "a.pkl"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    from mgkit.files import write_json

    write_json(tmp_path / "triangle.json", TRIANGLE.to_dict())
    return tmp_path / "triangle.json"


def run(source: Path, out: Path, layout: Path, **options: Any) -> Any:
    videos = source.parent / "videos"
    return prepare("pyskl", source, out, videos=videos, skeleton=layout, size=32, progress=False, **options)


def test_crop_keeps_pixels_and_joints_together(tmp_path: Path, layout: Path) -> None:
    clips = run(raw(tmp_path), tmp_path / "out", layout, workers=1)
    for clip_id in clips.ids:
        row, pose = clips.row(clip_id), clips.pose(clip_id)
        frames = read_frames(clips.video(clip_id), range(row["frames"])).astype(float)  # type: ignore[arg-type]
        assert frames.shape == (6, 32, 32, 3)
        bright = np.clip(frames.mean(-1) - 75, 0, None)
        middle = np.arange(32) + 0.5
        x = (bright.sum(1) * middle).sum(1) / bright.sum((1, 2))
        y = (bright.sum(2) * middle).sum(1) / bright.sum((1, 2))
        np.testing.assert_allclose(np.stack([x, y], 1), pose[0, :, 0, :2], atol=0.5)
        assert np.isnan(pose[0, :, 2]).all()
        # Traced back by the recorded crop, the joints are where the source had them.
        back = row["crop_x"] + pose[0, :, 0, 0] * row["crop_width"] / row["width"]
        np.testing.assert_allclose(back, np.linspace(60, 66, 6) + clips.ids.index(clip_id), atol=1e-3)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a clip folder that must not depend on how it was made."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_many_processes_make_the_same_folder_byte_for_byte(tmp_path: Path, layout: Path) -> None:
    source = raw(tmp_path, clips=12)
    one = run(source, tmp_path / "one", layout, workers=1)
    two = run(source, tmp_path / "two", layout, workers=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert one.fingerprint == two.fingerprint


def test_a_second_call_does_nothing_and_does_not_even_ask_the_reader(tmp_path: Path, layout: Path) -> None:
    source, out = raw(tmp_path), tmp_path / "out"
    run(source, out, layout, workers=1)
    before = times(out)
    stat = source.stat()
    source.write_bytes(bytes(stat.st_size))  # unreadable, but of the same size and time
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(run(source, out, layout)) == 3
    assert before == times(out)


def test_an_interrupted_preparation_is_completed(tmp_path: Path, layout: Path) -> None:
    source, out = raw(tmp_path), tmp_path / "out"
    whole = run(source, out, layout, workers=1)
    before = content(out)
    (out / "clips.parquet").unlink()
    (out / whole.table["video"][1]).unlink()
    kept = (out / whole.table["video"][0]).stat().st_mtime_ns
    with pytest.raises(MgkitError, match="is not finished: run the same `mgkit prepare` again"):
        load_clips(out)
    run(source, out, layout, workers=1)
    assert content(out) == before
    assert (out / whole.table["video"][0]).stat().st_mtime_ns == kept


def test_only_what_has_changed_is_made_again(tmp_path: Path, layout: Path) -> None:
    source, out = raw(tmp_path), tmp_path / "out"
    run(source, out, layout, workers=1)
    before = times(out / "videos")
    touched = tmp_path / "videos" / "clip 1 ü.mp4"
    os.utime(touched, ns=(1, 1))
    run(source, out, layout, workers=1)
    changed = {
        path.name for path, at in times(out / "videos").items() if path.is_file() and before[path] != at
    }
    assert changed == {"clip 1 ü.mp4"}


def test_an_edited_label_changes_the_table_and_no_video(tmp_path: Path, layout: Path) -> None:
    source, out = raw(tmp_path), tmp_path / "out"
    first = run(source, out, layout, workers=1)
    before = times(out / "videos")
    edited = pickle.loads(source.read_bytes())
    edited["annotations"][0]["label"] = 1
    source.write_bytes(pickle.dumps(edited))
    again = run(source, out, layout, workers=1)
    assert first.labels.tolist() == [0, 1, 0]
    assert again.labels.tolist() == [1, 1, 0]
    assert before == times(out / "videos")


def test_a_clip_that_left_the_source_leaves_the_folder(tmp_path: Path, layout: Path) -> None:
    source, out = raw(tmp_path), tmp_path / "out"
    run(source, out, layout, workers=1)
    raw(tmp_path, clips=2)
    assert run(source, out, layout, workers=1).ids == ["clip 0 ü", "clip 1 ü"]
    assert sorted(path.name for path in (out / "videos").iterdir()) == ["clip 0 ü.mp4", "clip 1 ü.mp4"]


def test_another_dataset_and_other_settings_are_refused(tmp_path: Path, layout: Path) -> None:
    source, out = raw(tmp_path), tmp_path / "out"
    run(source, out, layout, workers=1)
    with pytest.raises(MgkitError, match="was prepared with size 32, not 64: choose another folder"):
        prepare("pyskl", source, out, videos=tmp_path / "videos", skeleton=layout, size=64, progress=False)
    other = tmp_path / "other"
    other.mkdir()
    annotations = pickle.loads(source.read_bytes())
    for i, annotation in enumerate(annotations["annotations"]):
        annotation["frame_dir"] = f"x{i}"
    annotations["split"] = {"train": ["x0", "x1", "x2"]}
    (other / "a.pkl").write_bytes(pickle.dumps(annotations))
    with pytest.raises(
        MgkitError, match="was prepared from another source: it holds 3 clips, 0 of them also in"
    ):
        prepare("pyskl", other / "a.pkl", out, skeleton=layout, size=32, progress=False)
    assert len(load_clips(out)) == 3


def test_damage_is_noticed_and_mended(tmp_path: Path, layout: Path) -> None:
    source, out = raw(tmp_path), tmp_path / "out"
    clips = run(source, out, layout, workers=1)
    before = content(out)
    assert clips.damaged() == {}
    victim = out / clips.table["video"][1]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-100])
    with pytest.raises(MgkitError, match=r"has 1 file damaged or replaced, videos/clip 1 ü\.mp4 \(has"):
        load_clips(out)
    run(source, out, layout, workers=1)
    assert content(out) == before
    victim.write_bytes(whole[:-100] + bytes(100))  # of the same size: only a look inside tells
    ticks: list[tuple[int, int]] = []
    found = load_clips(out).damaged(lambda done, total: ticks.append((done, total)))
    assert found == {"videos/clip 1 ü.mp4": "differs in content from what was written"}
    assert ticks[-1] == (4, 4)
    victim.unlink()
    run(source, out, layout, workers=1)
    assert content(out) == before


def test_video_and_pose_of_different_lengths_are_reported(tmp_path: Path, layout: Path) -> None:
    clips = run(raw(tmp_path, clips=1, video_frames=9), tmp_path / "out", layout, workers=1)
    assert clips.table["frames"].tolist() == [6]
    lines = list(report_lines(clips.report))
    assert lines[0] == "class names (1): a.pkl has none: numbered class 0 to class 0"
    assert "lengths differ (1): clip 0 ü: frames by video 9, pose 6: the shortest is kept" in lines


@pytest.mark.parametrize("workers", [1, 2])
def test_too_many_broken_videos_are_refused_by_name(tmp_path: Path, layout: Path, workers: int) -> None:
    source = raw(tmp_path)
    (tmp_path / "videos" / "clip 1 ü.mp4").write_bytes(b"not a video")
    with pytest.raises(
        MgkitError, match=r"1 of 3 clips cannot be made, and 0 may .*clip 1 ü\.mp4 is not a video"
    ):
        run(source, tmp_path / "out", layout, workers=workers)
    assert not (tmp_path / "out" / "clips.parquet").exists()
    assert "left out: video cannot be read" in (tmp_path / "out" / "report.json").read_text()


def test_a_single_broken_video_is_left_out_by_name(tmp_path: Path, layout: Path) -> None:
    source, out = raw(tmp_path), tmp_path / "out"
    broken = tmp_path / "videos" / "clip 1 ü.mp4"
    whole = broken.read_bytes()
    broken.write_bytes(b"not a video")
    clips = run(source, out, layout, workers=1, tolerated=0.4)
    assert clips.ids == ["clip 0 ü", "clip 2 ü"]
    top = clips.report_table().iloc[0]
    assert (top["what"], top["how many"]) == ("left out: video cannot be read", 1)
    assert top["detail"].startswith("clip 1 ü: ")
    assert "clip 1 ü.mp4 is not a video" in top["detail"]
    with pytest.raises(MgkitError, match="1 of 3 clips cannot be made, and 0 may be left out"):
        run(source, tmp_path / "strict", layout, workers=1, tolerated=0.4, strict=True)
    kept = times(out / "videos")
    broken.write_bytes(whole)  # fixed: the same call takes it in
    assert len(run(source, out, layout, workers=1)) == 3
    now = times(out)
    assert all(now[path] == at for path, at in kept.items())


def test_videos_of_another_size_than_the_poses_are_refused(tmp_path: Path, layout: Path) -> None:
    source = raw(tmp_path, clips=1)
    write_video(tmp_path / "videos" / "clip 0 ü.mp4", np.zeros((6, 32, 48, 3), np.uint8), 25)
    with pytest.raises(MgkitError, match=r"clip 0 ü\.mp4 is 48 x 32 pixels, but the poses are for 96 x 64"):
        run(source, tmp_path / "out", layout, workers=1)


def test_poses_alone_make_a_clip_folder(tmp_path: Path, layout: Path) -> None:
    clips = prepare("pyskl", raw(tmp_path), tmp_path / "out", skeleton=layout, size=32, progress=False)
    assert not clips.has_video
    assert clips.has_pose
    assert clips.table["width"].tolist() == [32] * 3


def test_bad_calls(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="there is no reader 'imagenet'"):
        prepare("imagenet", tmp_path, tmp_path / "out")
    with pytest.raises(MgkitError, match="size is 33: use an even number"):
        prepare("pyskl", tmp_path, tmp_path / "out", size=33)


def test_a_reader_with_options_of_its_own(tmp_path: Path) -> None:
    """As a `functools.partial` they are recorded like those of the call, which come first."""

    def read(source: Path, *, name: str = "wave", frames: int = 6) -> RawDataset:
        pose = np.ones((1, frames, len(TRIANGLE), 3), np.float32) * np.arange(10, 10 + frames)[:, None, None]
        clips = [RawClip("a", "train", 0, size=(64, 64), source="a", pose=lambda: pose)]
        return RawDataset(clips, Classes((name,)), TRIANGLE, [])

    class Reader:
        def __call__(self, source: Path) -> RawDataset:
            return read(source)

    (source := tmp_path / "source").mkdir()
    options: dict[str, Any] = {"size": 32, "workers": 1, "progress": False, "pose_units": "pixels"}
    first = prepare(partial(partial(read, name="nod"), frames=8), source, tmp_path / "one", **options)
    assert first.classes.names == ("nod",)
    assert first.table["frames"].tolist() == [8]
    second = prepare(partial(read, name="nod"), source, tmp_path / "one", name="rub", **options)
    assert second.classes.names == ("rub",)
    plain = prepare(read, source, tmp_path / "two", name="nod", frames=8, **options)
    again = prepare(partial(read, name="nod", frames=8), source, tmp_path / "two", **options)
    assert plain.classes == again.classes
    assert prepare(Reader(), source, tmp_path / "three", **options).classes.names == ("wave",)
    with pytest.raises(MgkitError, match="values by place: give them by name"):
        prepare(partial(read, source), source, tmp_path / "four", **options)


def test_the_crop_holds_the_person_and_ignores_a_thrown_joint() -> None:
    generator = np.random.default_rng(0)
    pose = np.ones((1, 50, 10, 3), np.float32)
    pose[..., :2] = generator.uniform((100, 100), (200, 180), (1, 50, 10, 2))
    plain = person_crop(pose, (640, 480))
    assert plain.x <= 100
    assert plain.x + plain.side >= 200
    assert plain.side == pytest.approx(100 * (1 + MARGIN), rel=0.03)
    assert (plain.x % 2, plain.y % 2, plain.side % 2) == (0, 0, 0)  # whole chroma pixels
    thrown = pose.copy()
    thrown[0, 0, 0, :2] = (630, 470)
    thrown[0, 1, 0, :2] = (-500, 20)
    assert person_crop(thrown, (640, 480)).side == pytest.approx(plain.side, rel=0.05)


def test_without_joints_the_whole_frame_is_kept() -> None:
    for pose in (None, np.full((1, 4, 3, 3), np.nan, np.float32)):
        crop = person_crop(pose, (640, 480))
        assert (crop.x, crop.y, crop.side) == (0, -80, 640)


# --- untrimmed videos, by a reader function -------------------------------------------------------------------------


def untrimmed(folder: Path) -> RawDataset:
    """A reader: `labels.csv` (video, start, end, label, subject, split) and `<video>.mp4`; poses walk with a dot."""
    clips = []
    for i, line in enumerate((folder / "labels.csv").read_text().split()):
        name, start, end, label, subject, split = line.split(",")
        clips.append(
            RawClip(
                clip_id=f"{name}_{i}", split=split, label=int(label), size=(W, H), subject=subject,
                video=folder / f"{name}.mp4", source=f"{name}.mp4", start=int(start), end=int(end),
                pose=partial(walking_pose, int(start), max(1, int(end) - int(start))),
            )
        )  # fmt: skip
    return RawDataset(clips, Classes(("one", "two")), TRIANGLE, [folder / "labels.csv"])


def walking_pose(start: int, frames: int) -> np.ndarray:
    pose = np.ones((1, frames, 3, 3), np.float32)
    x = 20 + 0.5 * (start + np.arange(frames))
    pose[0, :, 0, :2] = np.stack([x, np.full(frames, 30)], 1)
    pose[0, :, 1, :2] = pose[0, :, 0, :2] + (-10, 12)
    pose[0, :, 2, :2] = pose[0, :, 0, :2] + (10, 12)
    return pose


def film(path: Path, frames: int = 80, seed: int = 0) -> None:
    yy, xx = np.mgrid[:H, :W]
    phase = np.random.default_rng(seed).uniform(0, 6, 2)
    shown = [
        (128 + 60 * np.stack([np.sin(xx / (9 + seed) + phase[0] + i / 9), np.cos(yy / 8 + phase[1]), np.sin(xx / 5)],
                             -1)).astype(np.uint8)
        for i in range(frames)
    ]  # fmt: skip
    write_video(path, shown, 25, key_frame_distance=25)


LABELS = [
    "a,0,20,0,S1,train",
    "a,10,40,1,S1,train",
    "a,60,80,0,S1,train",
    "b,5,6,1,S2,train",
    "b,30,70,0,S2,val",
]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "raw data ü"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        film(folder / f"{name}.mp4", seed=seed)
    (folder / "labels.csv").write_text("\n".join(LABELS))
    return folder


def test_clips_of_untrimmed_videos(videos: Path, tmp_path: Path) -> None:
    clips = prepare(untrimmed, videos, tmp_path / "out", size=32, workers=1, progress=False)
    assert clips.table["frames"].tolist() == [20, 30, 20, 1, 40]
    assert (clips.table["end"] - clips.table["start"]).tolist() == [20, 30, 20, 1, 40]
    for clip_id in clips.ids:
        row, path = clips.row(clip_id), clips.video(clip_id)
        assert path is not None
        assert probe(path).frames == row["frames"]
        pose = walking_pose(row["start"], row["frames"])[..., :2]
        back = clips.pose(clip_id)[..., :2] * row["crop_width"] / 32 + (row["crop_x"], row["crop_y"])
        np.testing.assert_allclose(back, pose, atol=1e-3)
    odd = clips.report_table().set_index("what")
    assert odd.loc["one frame", "detail"] == "b_3: the clip is a single frame of b.mp4"
    assert odd.loc["same video", "detail"] == "b.mp4 has 1 clip in train and 1 in val"


def test_one_edited_label_makes_one_clip_again(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(untrimmed, videos, out, size=32, workers=1, progress=False)
    before = times(out / "videos")
    (videos / "labels.csv").write_text("\n".join([*LABELS[:4], "b,31,70,0,S2,val"]))
    clips = prepare(untrimmed, videos, out, size=32, workers=1, progress=False)
    changed = {path.stem for path, at in times(out / "videos").items() if before.get(path) != at}
    assert changed == {"b_4"}
    fresh = prepare(untrimmed, videos, tmp_path / "fresh", size=32, workers=1, progress=False)
    assert content(out) == content(tmp_path / "fresh")
    assert clips.fingerprint == fresh.fingerprint


FAULTS = {
    "a,9,9,0,S1,train": "left out: end before start",
    "a,30,20,0,S1,train": "left out: end before start",
    "a,-3,20,0,S1,train": "left out: start before the video",
    "a,90,99,0,S1,train": "left out: starts after the end of the video",
    "a,75,99,0,S1,train": "left out: less than half is there",
    "gone,0,9,0,S1,train": "left out: video missing",
    "empty,0,9,0,S1,train": "left out: video cannot be read",
    "torn,0,9,0,S1,train": "left out: video cannot be read",
    "small,0,9,0,S1,train": "left out: video and pose of different sizes",
    "a,70,82,0,S1,train": "lengths differ",
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_every_fault_is_named_with_its_clip_and_file(videos: Path, tmp_path: Path, workers: int) -> None:
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "torn.mp4").write_bytes((videos / "a.mp4").read_bytes()[:3000])
    write_video(videos / "small.mp4", np.zeros((10, 32, 48, 3), np.uint8), 25)
    (videos / "labels.csv").write_text("\n".join([*LABELS, *FAULTS]))
    out = tmp_path / "out"
    with pytest.raises(
        MgkitError, match=r"of 15 clips cannot be made, and 0 may be left out: .*labels?"
    ) as raised:
        prepare(untrimmed, videos, out, size=32, workers=workers, progress=False)
    assert "a_5" in str(raised.value)
    clips = prepare(untrimmed, videos, out, size=32, workers=workers, progress=False, tolerated=0.7)
    found = {entry["clip_id"]: entry for entry in clips.report}
    for i, (line, what) in enumerate(FAULTS.items(), len(LABELS)):
        name = line.split(",")[0]
        entry = next(e for e in clips.report if e["clip_id"] == f"{name}_{i}")
        assert entry["what"] == what, line
        if what != "lengths differ":
            assert f"{name}.mp4" in entry["detail"], entry
    assert len(found) >= len(FAULTS)
    assert clips.ids == ["a_0", "a_1", "a_14", "a_2", "b_3", "b_4"]
    assert clips.row("a_14")["frames"] == 10


def test_what_two_splits_share_is_told_at_once(videos: Path, tmp_path: Path) -> None:
    lines = [*LABELS, "a,12,38,1,S1,val", "c,30,70,0,S3,test"]
    (videos / "c.mp4").write_bytes((videos / "b.mp4").read_bytes())  # the same recording under another name
    (videos / "labels.csv").write_text("\n".join(lines))
    clips = prepare(untrimmed, videos, tmp_path / "out", size=32, workers=1, progress=False)
    found = {(row["what"], row["splits"], row["name"]) for row in clips.leakage().to_dict("records")}
    assert found == {
        ("same footage", "train, val", "a_1 ~ a_5"),
        ("near-duplicate", "val, test", "b_4 ~ c_6"),
        ("same video", "train, val", "a.mp4"),
        ("same video", "train, val", "b.mp4"),
        ("same subject", "train, val", "S1"),
        ("same subject", "train, val", "S2"),
    }
    lines = "\n".join(report_lines(clips.report))
    assert "near-duplicate (1): b_4 (val) and c_6 (test) look the same" in lines
    assert "same subject (2): S1 has 3 clips in train and 1 in val" in lines


SCRIPT = """
import sys
from tests.data.prepare.test_folder import untrimmed
from mgkit.data.prepare.folder import prepare
if __name__ == "__main__":
    prepare(untrimmed, sys.argv[1], sys.argv[2], size=64, workers=2, progress=False)
    print("done")
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_finishes_alike(videos: Path, tmp_path: Path) -> None:
    lines = []
    for k, name in enumerate("abcdefgh"):
        if name not in "ab":
            film(videos / f"{name}.mp4", seed=k)
        lines += [f"{name},{a},{a + 25},{a % 2},S{k},train" for a in range(0, 55, 9)]
    (videos / "labels.csv").write_text("\n".join(lines))
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)
    prepare(untrimmed, videos, tmp_path / "whole", size=64, workers=1, progress=False)
    want = content(tmp_path / "whole")
    root = str(Path(__file__).resolve().parents[3])
    command = [sys.executable, str(script), str(videos), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": root}
    out, rng, kills, seen = tmp_path / "out", np.random.default_rng(0), 0, 0
    for _ in range(40):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        # Some videos later, at a random moment: the machine may be slow, so that files are what is waited for.
        goal = seen + int(rng.integers(1, 12))
        while process.poll() is None and len(list(out.glob("videos/*.mp4"))) < min(goal, 56):
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.1)))
        process.kill()
        kills += process.poll() is None
        process.communicate()
        seen = len(list(out.glob("videos/*.mp4")))
        if (out / "clips.parquet").is_file():
            break
    assert kills >= 4
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
    time.sleep(0.3)  # the last orphans see that their parent is gone
    assert content(out) == want
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_and_the_same_command_goes_on(videos: Path, tmp_path: Path) -> None:
    for k in range(6):
        film(videos / f"v{k}.mp4", seed=k)
    lines = [f"v{k},{a},{a + 25},0,S,train" for k in range(6) for a in range(0, 50, 3)]
    (videos / "labels.csv").write_text("\n".join(lines))
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    out = tmp_path / "out"
    command = [sys.executable, str(script), str(videos), str(out)]
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and len(list(out.glob("videos/*.mp4"))) < 5:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: parent and workers alike
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.count("Traceback") == 1, "the workers are silent"
    assert "KeyboardInterrupt" in errors
    assert not list(out.glob("videos/.*")), "nothing half written is left"
    clips = prepare(untrimmed, videos, out, size=64, workers=1, progress=False)
    assert len(clips) == len(lines)


def test_options_and_settings_that_do_not_fit(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"untrimmed has no option speed; it has none"):
        prepare(untrimmed, videos, tmp_path / "out", speed=3)
    with pytest.raises(MgkitError, match="the reader pyskl has no option speed; it has videos, skeleton"):
        prepare("pyskl", videos, tmp_path / "out", speed=3)
    with pytest.raises(MgkitError, match="workers is 0"):
        prepare(untrimmed, videos, tmp_path / "out", workers=0)
    with pytest.raises(MgkitError, match="tolerated is 2"):
        prepare(untrimmed, videos, tmp_path / "out", tolerated=2)
    for line, message in {
        "a,0,20,2,S1,train": "label 2 of clip 'a_5' is outside the 2 classes",
    }.items():
        (videos / "labels.csv").write_text("\n".join([*LABELS, line]))
        with pytest.raises(MgkitError, match=message):
            prepare(untrimmed, videos, tmp_path / "out", size=32, progress=False)


@pytest.mark.parametrize("names", [["a", "a"], ["a", "../b"], ["a", "A"], ["a", ""], ["a", ".b"]])
def test_clip_ids_that_cannot_name_files(videos: Path, tmp_path: Path, names: list[str]) -> None:
    def read(source: Path) -> RawDataset:
        data = untrimmed(source)
        clips = [replace(clip, clip_id=name) for clip, name in zip(data.clips, names, strict=False)]
        return replace(data, clips=clips)

    with pytest.raises(MgkitError, match="occur twice|cannot name a file|capital letters"):
        prepare(read, videos, tmp_path / "out", size=32, progress=False)
    assert not (tmp_path / "out" / "videos").exists()


def test_every_format_that_decodes_is_prepared_and_what_does_not_counts(tmp_path: Path) -> None:
    """Recordings of cameras and browsers in class folders; one changes its picture size, one is no video at all."""
    source = tmp_path / "raw"
    for i, name in enumerate(("a.MTS", "b.mpg", "c.m4v", "d.flv", "e.3gp", "f.wmv", "g.ts")):
        (source / "wave").mkdir(parents=True, exist_ok=True)
        kind = {"b.mpg": {"codec": "mpeg2video"}, "f.wmv": {"codec": "msmpeg4v3"}}.get(name, {"g": "4"})
        encode(source / "wave" / name, 4 + i, **kind)
    (source / "nod").mkdir()
    encode_sizes(
        source / "nod" / "h.webm", {0: (64, 96), 3: (96, 128)}, codec="libvpx", count=6, deadline="realtime"
    )
    encode(source / "nod" / f"{'i' * 247}.mp4", 3)
    (source / "nod" / "j.r3d").write_bytes(bytes(100))
    options: dict[str, Any] = {"size": 32, "workers": 1, "progress": False}
    said = r"2 of 10 clips cannot be made, and 1 may be left out: not a video \(1\), nod/j.r3d: .*" + (
        r"video cannot be read \(1\), nod/h: .*changes its size from 96x64 to 128x96 by frame 3"
    )
    with pytest.raises(MgkitError, match=said):
        prepare("folders", source, tmp_path / "out", tolerated=0.1, **options)
    clips = prepare("folders", source, tmp_path / "out", tolerated=0.2, **options)
    assert clips.table["frames"].tolist() == [3, 4, 5, 6, 7, 8, 9, 10]
    assert len([e for e in clips.report if e["what"].startswith("left out")]) == 2
    with pytest.raises(MgkitError, match="2 of 10 clips cannot be made"):  # also where nothing has changed
        prepare("folders", source, tmp_path / "out", **options)


def test_a_clip_whose_file_name_would_be_too_long_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    (source / "nod").mkdir(parents=True)
    for name in ("a.ts", f"{'x' * 252}.ts"):
        encode(source / "nod" / name, 3)
    clips = prepare("folders", source, tmp_path / "out", size=32, workers=1, progress=False, tolerated=0.5)
    assert clips.ids == ["nod/a"]
    entry = next(e for e in clips.report if e["what"] == "left out: name too long")
    assert entry["clip_id"] == f"nod/{'x' * 252}"


def test_a_folder_from_which_nothing_can_be_learned_is_warned_of(
    tmp_path: Path, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = raw(tmp_path)
    content = pickle.loads(source.read_bytes())
    for annotation in content["annotations"]:
        annotation["label"] = 0
        annotation["keypoint_score"][:] = 0
    source.write_bytes(pickle.dumps(content))
    clips = prepare(
        "pyskl", source, tmp_path / "out", skeleton=layout, classes=["nod", "wave"], size=32, workers=1
    )
    said = {entry["what"]: entry["detail"] for entry in clips.report}
    assert said["one class only"] == "3 clips, all 'nod': a training will be refused"
    assert said["no joint in any clip"] == "all 3 poses are empty: check the key-points"
    assert capsys.readouterr().err.count("WARNING") == 2
    ordinary = run(raw(tmp_path / "b"), tmp_path / "both", layout, workers=1)
    assert not {"one class only", "no joint in any clip"} & {entry["what"] for entry in ordinary.report}
