from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.clips import load_clips
from mgkit.data.cutting import person_crop
from mgkit.data.making import MARGIN
from mgkit.data.prepare import prepare, report_lines
from mgkit.data.video import read_frames, write_video
from mgkit.errors import MgkitError

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
    from tests.tiny import TRIANGLE

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
        MgkitError, match="was prepared from another source: it holds 3 clips, of which 0 are in"
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
    with pytest.raises(
        MgkitError, match=r"1 files of .* damaged or were replaced, videos/clip 1 ü\.mp4 \(has"
    ):
        load_clips(out)
    run(source, out, layout, workers=1)
    assert content(out) == before
    victim.write_bytes(whole[:-100] + bytes(100))  # of the same size: only a look inside tells
    ticks: list[tuple[int, int]] = []
    found = load_clips(out).damaged(lambda done, total: ticks.append((done, total)))
    assert found == {"videos/clip 1 ü.mp4": "has another content than was written"}
    assert ticks[-1] == (4, 4)
    victim.unlink()
    run(source, out, layout, workers=1)
    assert content(out) == before


def test_video_and_pose_of_different_lengths_are_reported(tmp_path: Path, layout: Path) -> None:
    clips = run(raw(tmp_path, clips=1, video_frames=9), tmp_path / "out", layout, workers=1)
    assert clips.table["frames"].tolist() == [6]
    lines = list(report_lines(clips))
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
    assert (top["what"], top["how many"], top["clips"]) == ("left out: video cannot be read", 1, "clip 1 ü")
    assert "clip 1 ü.mp4 is not a video" in top["detail"]
    with pytest.raises(MgkitError, match="1 of 3 clips cannot be made, and 0 may be left out"):
        run(source, tmp_path / "strict", layout, workers=1, tolerated=0.4, strict=True)
    kept = times(out / "videos")
    broken.write_bytes(whole)  # mended: the same call takes it in
    assert len(run(source, out, layout, workers=1)) == 3
    now = times(out)
    assert all(now[path] == at for path, at in kept.items())


def test_videos_of_another_size_than_the_poses_are_refused(tmp_path: Path, layout: Path) -> None:
    source = raw(tmp_path, clips=1)
    write_video(tmp_path / "videos" / "clip 0 ü.mp4", np.zeros((6, 32, 48, 3), np.uint8), 25)
    with pytest.raises(MgkitError, match=r"clip 0 ü\.mp4 is 48 x 32 pixels, but the poses say 96 x 64"):
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


def test_the_crop_holds_the_person_and_ignores_a_thrown_joint() -> None:
    generator = np.random.default_rng(0)
    pose = np.ones((1, 50, 10, 3), np.float32)
    pose[..., :2] = generator.uniform((100, 100), (200, 180), (1, 50, 10, 2))
    plain = person_crop(pose, (640, 480))
    assert plain.x <= 100
    assert plain.x + plain.side >= 200
    assert plain.side == pytest.approx(100 * (1 + MARGIN), rel=0.03)
    assert not (plain.x % 2 or plain.y % 2 or plain.side % 2)  # whole chroma pixels
    thrown = pose.copy()
    thrown[0, 0, 0, :2] = (630, 470)
    thrown[0, 1, 0, :2] = (-500, 20)
    assert person_crop(thrown, (640, 480)).side == pytest.approx(plain.side, rel=0.05)


def test_without_joints_the_whole_frame_is_kept() -> None:
    for pose in (None, np.full((1, 4, 3, 3), np.nan, np.float32)):
        crop = person_crop(pose, (640, 480))
        assert (crop.x, crop.y, crop.side) == (0, -80, 640)
