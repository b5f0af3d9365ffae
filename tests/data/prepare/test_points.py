"""Key-points that are not what their numbers look like: units, rates, axes, frames and fillers."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgkit as mg
from mgkit.cli import main
from mgkit.data.clips import load_clips
from mgkit.data.prepare import points
from mgkit.data.prepare.points import PoseRules, smoothed
from mgkit.data.readers.pyskl import write_pyskl
from mgkit.data.video import probe
from mgkit.errors import MgkitError
from tests.data.video.made import turned
from tests.made.points import clip, film, in_source, notes, person, prepared
from tests.made.trees import write_imigue, write_ma52, write_smg


def scaled(pose: np.ndarray, scale: Any, shift: Any = 0.0) -> np.ndarray:
    """The same key-points with x and y in other units."""
    out = pose.copy()
    out[..., :2] = pose[..., :2] * np.asarray(scale, np.float32) + np.asarray(shift, np.float32)
    return out


# --- units ----------------------------------------------------------------------------------------------------------

UNITS = {
    "shares": ((1 / 640, 1 / 480), 0.0),
    "centred": ((2 / 640, 2 / 480), -1.0),
    "percent": ((100 / 640, 100 / 480), 0.0),
}


@pytest.mark.parametrize("units", UNITS)
def test_stated_units_are_converted_to_what_pixels_give(tmp_path: Path, units: str) -> None:
    poses = {f"c{i}": person(seed=i)[None] for i in range(3)}
    want = prepared(tmp_path / "pixels", [clip(name, pose) for name, pose in poses.items()])
    other = [clip(name, scaled(pose, *UNITS[units])) for name, pose in poses.items()]
    got = prepared(tmp_path / "other", other, pose_units=units)
    for name in poses:
        np.testing.assert_allclose(in_source(got, name), in_source(want, name), atol=0.01)
        assert got.row(name)["crop_width"] == want.row(name)["crop_width"]


@pytest.mark.parametrize(("units", "likely"), [("shares", "shares"), ("centred", "centred")])
def test_points_that_cannot_be_pixels_are_refused_with_the_remedy(
    tmp_path: Path, units: str, likely: str
) -> None:
    clips = [clip(f"c{i}", scaled(person(seed=i)[None], *UNITS[units])) for i in range(3)]
    message = rf"they lie between -?0.* in a frame of 640 x 480 pixels: .*--pose-units {likely} \("
    with pytest.raises(MgkitError, match=message):
        prepared(tmp_path, clips)
    # Whoever means it can say so.
    assert len(prepared(tmp_path, clips, pose_units="pixels")) == 3


def test_shares_that_reach_beyond_the_frame_and_have_fillers_are_refused_too(tmp_path: Path) -> None:
    pose = scaled(person()[None], (1 / 640, 1 / 480))
    pose[:, :, 11:, 1] += 1.6  # legs below the frame, as MediaPipe guesses them
    pose[:, ::3, 4, :2] = -1
    with pytest.raises(MgkitError, match="--pose-units shares"):
        prepared(tmp_path, [clip("c", pose)])


def test_shares_of_a_frame_of_one_pixel_ask_for_its_size(tmp_path: Path) -> None:
    pose = scaled(person()[None], (1 / 640, 1 / 480))
    for units in (None, "shares"):
        with pytest.raises(
            MgkitError, match=r"nor a frame size \(img_shape\) larger than 1 x 1: .*--pose-size 640x480"
        ):
            prepared(tmp_path, [clip("c", pose, size=(1, 1))], pose_units=units)
    made = prepared(tmp_path, [clip("c", pose, size=(1, 1))], pose_units="shares", pose_size="640x480")
    np.testing.assert_allclose(in_source(made, "c"), person()[None, ..., :2], atol=0.01)


def test_units_stated_wrongly_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        MgkitError, match=r"lie outside the frame: .* Are they shares, as --pose-units states\?"
    ):
        prepared(tmp_path, [clip("c", person()[None])], pose_units="shares")


def test_what_is_stated_must_mean_something() -> None:
    for stated, message in (
        ((0.0, None, None, None), "pose_fps is 0.0: give a number above 0"),
        ((None, -1.0, None, None), "pose_step is -1.0: give a number above 0"),
        ((25.0, 2.0, None, None), "state the same thing: give one"),
        ((None, None, "metres", None), "pose_units is 'metres': use one of pixels, shares, centred, percent"),
        ((None, None, None, "640"), "pose_size is '640': give width and height"),
    ):
        with pytest.raises(MgkitError, match=message):
            PoseRules.of(*stated)
    assert PoseRules.of(None, None, None, (640, 480)).size == (640, 480)


def test_what_is_stated_about_nothing_is_refused(tmp_path: Path) -> None:
    alone = replace(clip("c", None, video=film(tmp_path / "v.mp4", 9)), pose=None)
    with pytest.raises(MgkitError, match="has no key-points, so that nothing can be stated about them"):
        prepared(tmp_path, [alone], pose_units="shares")
    with pytest.raises(MgkitError, match="has no videos, so that pose_step means nothing"):
        prepared(tmp_path, [clip("c", person()[None])], pose_step=2)


def test_what_is_stated_belongs_to_the_folder(tmp_path: Path) -> None:
    first = prepared(tmp_path, [clip("c", person()[None])], pose_size="640x480")
    again = prepared(tmp_path, [clip("c", scaled(person()[None], 0.5))], pose_size="640x480")
    assert np.array_equal(first.pose("c"), again.pose("c"))  # the source has not changed
    other = prepared(tmp_path, [clip("c", person()[None])], pose_size="1280x960")
    assert other.row("c")["crop_width"] == first.row("c")["crop_width"]


# --- rate -----------------------------------------------------------------------------------------------------------


def filmed(folder: Path, poses: int, frames: int = 120, **options: Any) -> Any:
    """One clip whose wrist goes right by 24 pixels a second, beside a video of 25 frames per second."""
    video = folder / "v.mp4"
    if not video.is_file():
        film(video, frames)
    points = scaled(person(poses, at=(20, 24), height=20)[None], 1)
    points[0, :, 5, 0] = 10 + 24 * np.arange(poses) / poses * frames / 25 / 5
    points[0, :, :5, :2], points[0, :, 6:, :2] = (20, 20), (30, 40)
    points[0, :, [0, 12], 0] = 25
    return prepared(folder, [clip("c", points, size=(64, 48), video=video)], **options)


@pytest.mark.parametrize(("poses", "step", "fps"), [(24, 5, 5), (240, 0.5, 50)])
def test_poses_at_another_rate_are_refused_with_the_factor_and_resampled_with_it(
    tmp_path: Path, poses: int, step: float, fps: float
) -> None:
    message = rf"{poses} poses beside 120 frames, about {step} frames per pose: state --pose-step {step},"
    with pytest.raises(MgkitError, match=message):
        filmed(tmp_path, poses)
    wrist = 10 + 24 * np.arange(120) / 25 / 5
    for stated in ({"pose_step": step}, {"pose_fps": fps}):
        clips = filmed(tmp_path, poses, **stated)
        assert clips.row("c")["frames"] == 120
        # In step to the last frame for which there is a pose.
        last = int((poses - 1) * step) + 1
        np.testing.assert_allclose(in_source(clips, "c")[0, :last, 5, 0], wrist[:last], atol=0.02)
        assert notes(clips, "poses resampled") == {"c": f"{poses} poses to 120 frames of the video"}
        assert not notes(clips, "lengths differ")


def test_a_rate_stated_wrongly_is_refused_and_one_says_that_lengths_may_differ(tmp_path: Path) -> None:
    with pytest.raises(
        MgkitError,
        match="24 poses beside 120 frames, about 5 frames per pose, not 2 as stated: state --pose-step 5",
    ):
        filmed(tmp_path, 24, pose_step=2)
    with pytest.raises(MgkitError, match="about 5 frames per pose, not 1 as stated: state --pose-step 5"):
        filmed(
            tmp_path, 24, pose_fps=25
        )  # the rate of the video, which 24 poses beside 120 frames do not have
    clips = filmed(tmp_path, 24, pose_step=1)
    assert clips.row("c")["frames"] == 24
    assert notes(clips, "lengths differ") == {"c": "frames by video 120, pose 24: the shortest is kept"}


def test_a_joint_seen_in_one_of_two_poses_is_that_of_the_nearer(tmp_path: Path) -> None:
    pose = person(4)[None]
    pose[0, 1, 3] = np.nan
    film(tmp_path / "v.mp4", 16, (640, 480))
    clips = prepared(tmp_path, [clip("c", pose, video=tmp_path / "v.mp4")], pose_step=4)
    seen = np.isfinite(clips.pose("c")[0, :, 3, 0])
    assert seen.tolist() == [True] * 2 + [False] * 4 + [True] * 10
    got = in_source(clips, "c")[0]
    np.testing.assert_allclose(got[::4, 0], pose[0, :, 0, :2], atol=0.01)
    np.testing.assert_allclose(got[1, 3], pose[0, 0, 3, :2], atol=0.01)


def whole(start: int = 0, end: int = 0, *, poses: np.ndarray) -> np.ndarray:
    return poses[None, start:end]


def count(poses: int) -> int:
    return poses


@pytest.mark.parametrize("step", [2, 0.5])
def test_key_points_of_a_whole_recording_at_another_rate(tmp_path: Path, step: float) -> None:
    film(tmp_path / "v.mp4", 80, (640, 480))
    full = int(80 / step)
    poses = person(full, at=(100, 240))
    poses[:, 5, 0] = 100 + np.arange(full) * step  # says in which frame of the video it was
    clips = [
        clip(
            f"c{start}",
            None,
            video=tmp_path / "v.mp4",
            start=start,
            end=start + 20,
            pose_frames=partial(count, full),
        )
        for start in (0, 20, 55)
    ]
    clips = [replace(one, pose=partial(whole, start=one.start, end=one.end, poses=poses)) for one in clips]
    with pytest.raises(MgkitError, match=rf"{full} poses beside 80 frames, about {step} frames per pose"):
        prepared(tmp_path, clips)
    made = prepared(tmp_path, clips, pose_step=step)
    for one in clips:
        want = 100 + one.start + np.arange(20)
        np.testing.assert_allclose(in_source(made, one.clip_id)[0, :, 5, 0], want, atol=0.02)
    assert not notes(made, "video and key-points of different lengths")


def test_a_rate_that_is_not_gross_but_the_same_everywhere_is_refused(tmp_path: Path) -> None:
    clips, lost = [], []
    for i, poses in enumerate((25, 30, 40, 50, 60)):  # 25 per second beside 30
        video = film(tmp_path / f"{i}.mp4", round(1.2 * poses), fps=30)
        pose = person(poses, at=(30, 24), height=30)[None]
        clips.append(clip(f"c{i}", pose, size=(64, 48), video=video))
        short = film(tmp_path / f"s{i}.mp4", poses + 5, fps=30)
        lost.append(clip(f"c{i}", pose, size=(64, 48), video=short))
    with pytest.raises(
        MgkitError, match=r"25 beside 30 frames in clip 'c0', and 1.2 frames per pose in 100% of 5"
    ):
        prepared(tmp_path, clips)
    made = prepared(tmp_path, clips, pose_fps=25)
    assert made.table["frames"].tolist() == [30, 36, 48, 60, 72]
    # Five frames lost at the end of each, as a network that looks ahead loses them, are another matter.
    assert len(notes(prepared(tmp_path / "lost", lost), "lengths differ")) == 5


@pytest.mark.parametrize(
    ("frames", "poses", "step"), [(120, 100, "1.2"), (100, 120, "0.8333"), (120, 112, "")]
)
def test_another_rate_of_clips_of_one_length(tmp_path: Path, frames: int, poses: int, step: str) -> None:
    """20 of 120 frames less in every clip are 25 per second beside 30; 8 may be lost at the ends."""
    video = film(tmp_path / "v.mp4", frames)
    clips = [
        clip(f"c{i}", person(poses, at=(30, 24), height=30, seed=i)[None], size=(64, 48), video=video)
        for i in range(5)
    ]
    if step:
        with pytest.raises(
            MgkitError, match=f"{poses} beside {frames} frames .* state --pose-step {step}, or"
        ):
            prepared(tmp_path, clips)
        assert prepared(tmp_path / "stated", clips, pose_step=float(step)).row("c0")["frames"] == frames
    made = prepared(tmp_path / "cut", clips, pose_step=1 if step else None)
    assert made.row("c0")["frames"] == min(frames, poses)


def test_poses_alone_record_their_rate(tmp_path: Path) -> None:
    assert prepared(tmp_path, [clip("c", person()[None])], pose_fps=12.5).row("c")["fps"] == 12.5


# --- axes -----------------------------------------------------------------------------------------------------------


def test_frames_before_persons_are_refused(tmp_path: Path) -> None:
    turned = person()[:, None]  # (24, 1, 13, 3)
    film(tmp_path / "v.mp4", 24, (640, 480))
    message = (
        r"the pose has shape \(24, 1, 13, 3\), 24 persons in 1 frame, .* give \(persons, frames, joints, 3\)"
    )
    for more in ({"video": tmp_path / "v.mp4"}, {"end": 24}, {}):  # the last: nothing states a length
        with pytest.raises(MgkitError, match=message):
            prepared(tmp_path, [clip("c", turned, **more)])


def test_a_crowd_in_one_frame_is_a_crowd(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crowd = np.stack([person(1, at=tuple(rng.uniform((50, 100), (600, 400))), height=60) for _ in range(12)])
    assert prepared(tmp_path, [clip("c", crowd)]).row("c")["persons"] == 12


# --- frames ---------------------------------------------------------------------------------------------------------


def test_width_and_height_swapped_are_refused(tmp_path: Path) -> None:
    clips = [clip(f"c{i}", person(at=(900, 400), seed=i)[None], size=(720, 1280)) for i in range(3)]
    with pytest.raises(
        MgkitError, match=r"3 of 3 clips \(c0, c1, c2\) .*720 x 1280\. With width and height swapped"
    ):
        prepared(tmp_path, clips)
    made = prepared(tmp_path, clips, pose_size="1280x720")
    assert not notes(made, "points outside the frame")
    # In the middle of the picture a third is beyond the side, and the crop would cut the person.
    clips = [clip(f"c{i}", person(at=(710, 400), seed=i)[None], size=(720, 1280)) for i in range(3)]
    with pytest.raises(MgkitError, match="With width and height swapped all would fit"):
        prepared(tmp_path / "middle", clips)
    # And the reverse: a picture that stands upright, taken as a wide one.
    clips = [
        clip(f"c{i}", person(at=(360, 760), height=700, seed=i)[None], size=(1280, 720)) for i in range(3)
    ]
    with pytest.raises(MgkitError, match=r"With width and height swapped .* --pose-size 720x1280 "):
        prepared(tmp_path / "upright", clips)


def test_pixels_of_a_larger_picture_are_refused_with_the_factor(tmp_path: Path) -> None:
    clips = [
        clip(f"c{i}", person(at=(1400, 700), height=600, seed=i)[None], size=(640, 360)) for i in range(3)
    ]
    with pytest.raises(MgkitError, match="Divided by 3 they would fit, .* --pose-size 1920x1080"):
        prepared(tmp_path, clips)
    film(tmp_path / "v.mp4", 24, (640, 360))
    small = [clip("c0", person(at=(1400, 700), height=600)[None], size=(640, 360), video=tmp_path / "v.mp4")]
    made = prepared(tmp_path / "scaled", small, pose_size="1920x1080")
    want = person(at=(1400, 700), height=600)[None, ..., :2] / 3
    np.testing.assert_allclose(in_source(made, "c0"), want, atol=0.01)


def test_videos_made_smaller_after_the_poses(tmp_path: Path) -> None:
    pose = person()[None]
    small = [clip("c", pose, video=film(tmp_path / "v.mp4", 24, (320, 240)))]
    with pytest.raises(
        MgkitError, match="is 320 x 240 pixels, but the poses are for 640 x 480: .* --pose-size stated"
    ):
        prepared(tmp_path, small)
    made = prepared(tmp_path, small, pose_size="stated")
    np.testing.assert_allclose(in_source(made, "c"), pose[..., :2] / 2, atol=0.01)
    turned = [clip("c", pose, video=film(tmp_path / "t.mp4", 24, (480, 640)))]
    with pytest.raises(
        MgkitError, match=r"but the poses are for 640 x 480: .* if img_shape is \(width, height\)"
    ):
        prepared(tmp_path / "turned", turned)


@pytest.mark.parametrize("stated", [True, False])
def test_points_on_the_pictures_before_a_turn(tmp_path: Path, stated: bool) -> None:
    """Of a telephone held upright; sides that are swapped would fit, but the points would not."""
    path = turned(film(tmp_path / "v.mp4", 24, (640, 480)), tmp_path / "t.mp4")
    assert (probe(path).width, probe(path).height) == (480, 640)
    clips = [
        clip(f"c{i}", person(at=(550, 240), seed=i)[None], video=path, **({} if stated else {"size": None}))
        for i in range(3)
    ]
    with pytest.raises(
        MgkitError, match="before the turn that the video asks for: estimate .* -display_rotation 0"
    ):
        prepared(tmp_path, clips)


def test_points_nowhere_near_the_frame_are_refused(tmp_path: Path) -> None:
    clips = [clip(f"c{i}", person(at=(-5000, 300), seed=i)[None]) for i in range(3)]
    with pytest.raises(MgkitError, match="Neither swapped sides nor a plain factor would fit"):
        prepared(tmp_path, clips)


def test_points_of_a_smaller_picture_are_noted(tmp_path: Path) -> None:
    clips = [clip(f"c{i}", scaled(person(seed=i)[None], 0.2)) for i in range(12)]
    made = prepared(tmp_path, clips)
    assert "all of 12 clips lie in the top left" in notes(made, "key-points in one corner")[""]
    assert not notes(prepared(tmp_path / "few", clips[:5]), "key-points in one corner")


# --- fillers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [(-1, -1), (-9999, -9999), (1e9, 1e9), (-320, -240), (0, 0)])
def test_fillers_are_not_seen_and_told_with_their_value(tmp_path: Path, value: tuple[float, float]) -> None:
    pose = person()[None]
    lost = np.zeros(pose.shape[:3], bool)
    lost[0, 4:, 7:] = True
    pose[lost, :2] = value
    clips = prepared(tmp_path, [clip("c", pose)])
    assert np.array_equal(np.isnan(clips.pose("c")).all(-1), lost)
    told = notes(clips, "filler value")["c"]
    assert told == f"({value[0]:g}, {value[1]:g}) in 120 points, 6 joints and 20 frames: taken as not seen"
    assert not notes(clips, "points outside the frame")


def test_one_joint_in_one_frame_may_have_a_filler(tmp_path: Path) -> None:
    pose = person()[None]
    pose[0, 3, 5, :2] = -1
    clips = prepared(tmp_path, [clip("c", pose)])
    assert np.argwhere(np.isnan(clips.pose("c")[..., 0])).tolist() == [[0, 3, 5]]


def test_a_body_in_one_point_is_a_filler(tmp_path: Path) -> None:
    """What a reader makes of "0, 0" when it takes the middle of the frame for the origin."""
    pose = person()[None]
    pose[0, 10:14, :, :2] = (320, 240)
    clips = prepared(tmp_path, [clip("c", pose)])
    assert np.flatnonzero(np.isnan(clips.pose("c")).all((0, 2, 3))).tolist() == [10, 11, 12, 13]
    assert notes(clips, "nobody seen") == {"c": "in 4 of 24 frames"}


@pytest.mark.parametrize("seed", range(8))
def test_fillers_are_those_of_a_count_point_by_point(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in blocks of a few frames, which share what they found."""
    rng = np.random.default_rng(seed)
    pose = np.stack([person(60, at=(40.0, 60.0)), person(60, at=(120.0, 60.0))]).astype(np.float32)
    pose[..., :2] += rng.normal(0, 3, pose[..., :2].shape)
    pose[rng.random(pose.shape[:3]) < 0.1] = np.nan
    corner, outside, inside = (0.0, 0.0), (-400.0, 900.0), (70.5, 30.25)
    for value, share in (
        (corner, 0.02),
        (outside, 0.15),
        (inside, rng.choice([0.1, 0.5])),
        ((-1.0, -1.0), 0.01),
    ):
        pose[rng.random(pose.shape[:3]) < share, :2] = value
    pose[~np.isfinite(pose).all(-1)] = np.nan
    high = np.array((160.0, 120.0), np.float32)
    wanted, kinds = slow_fillers(pose, high)
    monkeypatch.setattr(points, "BLOCK", 7)
    told = points._drop_filler(pose, 0.0, high, "c")
    assert len(told) == kinds >= 2
    np.testing.assert_array_equal(np.isnan(pose).all(-1), wanted)


def slow_fillers(pose: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, int]:
    """(M, T, V): what is not seen without the fillers, and how many there are: pair by pair, frame by frame."""
    lost = np.isnan(pose).any(-1)
    pairs = {tuple(pair) for pair in pose[~lost][:, :2].tolist()}
    held = {pair: (pose[..., :2] == np.array(pair, np.float32)).all(-1) & ~lost for pair in pairs}
    joints = {pair: there.sum(2) for pair, there in held.items()}
    shared = {
        pair
        for pair, count in joints.items()
        if (min(pair) < 0 or (np.array(pair) > high).any())
        and ((count >= 3).any() or (count >= 2).sum() >= 5)
    }
    others = pose[~lost & ~np.any([held[pair] for pair in shared] or [np.zeros_like(lost)], axis=0)][:, :2]
    low_by, high_by = np.quantile(others, [0.05, 0.95], axis=0)
    found = set()
    for pair, count in joints.items():
        one, two = pair
        away = max(*(low_by - pair), *(np.array(pair) - high_by))
        if (
            (one == two and one == round(one) and (one <= 0 or one > 4 * high.max()))
            or (pair in shared and away > 0.5 * (high_by - low_by).max())
            or ((2 * count >= pose.shape[2]) & (count >= 3)).sum() >= 3
        ):
            found.add(pair)
    return lost | np.any([held[pair] for pair in found], axis=0), len(found)


def test_fillers_of_other_units(tmp_path: Path) -> None:
    for units, value in (("shares", -1), ("centred", -1), ("percent", -1)):
        pose = scaled(person()[None], *UNITS[units])
        pose[0, 4:9, 12, :2] = value
        clips = prepared(tmp_path / units, [clip("c", pose)], pose_units=units)
        assert np.isnan(clips.pose("c")[0, :, 12, 0]).sum() == 5
        np.testing.assert_allclose(in_source(clips, "c")[0, :, 0], person()[:, 0, :2], atol=0.01)


# --- nobody ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nobody", [np.zeros((0, 24, 13, 3)), [], None, np.zeros((1, 24, 13, 3)) * np.nan])
def test_a_clip_with_nobody_is_kept_as_unseen(tmp_path: Path, nobody: Any) -> None:
    video = film(tmp_path / "v.mp4", 24, (640, 480))
    clips = prepared(tmp_path, [clip("a", person()[None], video=video), clip("b", nobody, video=video)])
    assert clips.row("b")["frames"] == 24
    assert np.isnan(clips.pose("b")).all()
    assert notes(clips, "no person") == {"b": "no joint was seen: the whole frame is kept"}


def test_a_clip_with_nobody_and_no_length_is_left_out_by_name(tmp_path: Path) -> None:
    clips = prepared(tmp_path, [clip("a", person()[None]), clip("b", [])], tolerated=0.5)
    assert clips.ids == ["a"]
    assert "nobody was seen, and its length is not known" in notes(clips, "left out: no frames")["b"]


# --- what must not be refused ---------------------------------------------------------------------------------------


def test_right_key_points_pass_as_they_are(tmp_path: Path) -> None:
    one = np.full((1, 24, 13, 3), np.nan, np.float32)
    one[0, 7, 3] = (0.7, 1.2, 0.9)  # a single joint, in the corner
    still = np.repeat(person(1), 24, axis=0)[None]
    cut = np.round(still)
    cut[0, :, :, 0] += 300  # half of it beyond the right side, in whole pixels, quite still
    feet = person(at=(320, 390))[None]
    feet[0, 3:9, 9:, :2] = (
        320,
        487.5,
    )  # OpenPose finds several at the edge of its map, in one frame as in the next
    legs = person(at=(320, 420), height=300)[None]  # below the frame
    legs[..., 2] = 1.0
    mirrored = scaled(person()[None], (-1, 1), (640, 0))
    poses = {
        "usual": person()[None], "one joint": one, "still": still, "cut": cut, "legs": legs, "mirrored": mirrored,
        "one frame": person(1)[None], "walks": person(walk=8)[None], "two": np.stack([person(), person(at=(500, 200))]),
        "feet": feet, "long": person(90)[None],
    }  # fmt: skip
    clips = prepared(tmp_path, [clip(name, pose) for name, pose in poses.items()])
    for name, pose in poses.items():
        np.testing.assert_allclose(in_source(clips, name), pose[..., :2], atol=0.01, err_msg=name)
    changed = {"filler value", "rows joined", "rows traded", "poses resampled", "key-points in one corner"}
    assert not changed & {entry["what"] for entry in clips.report}


def test_people_who_sit_before_the_camera_are_mostly_below_the_frame(tmp_path: Path) -> None:
    """MediaPipe gives legs that nobody sees: most points of every clip, if their scores were not kept."""
    poses = [person(at=(320, 470), height=700, seed=i)[None] for i in range(6)]
    made = prepared(tmp_path, [clip(f"c{i}", pose) for i, pose in enumerate(poses)])
    assert len(notes(made, "points outside the frame")) == 6


def test_two_odd_clips_of_many_are_left_out_or_kept_by_name(tmp_path: Path) -> None:
    clips = [clip(f"c{i:02}", person(6, seed=i)[None]) for i in range(60)]
    clips[7] = clip("c07", scaled(person(6)[None], (1 / 640, 1 / 480)))
    clips[9] = clip("c09", person(6, at=(2000, 2000))[None])
    made = prepared(tmp_path, clips)
    assert len(made) == 59
    assert list(notes(made, "left out: key-points are not pixels")) == ["c07"]
    assert list(notes(made, "points outside the frame")) == ["c09"]


def test_a_dataset_that_is_wrong_throughout_is_refused_early(tmp_path: Path) -> None:
    looked: list[str] = []

    def far(name: str) -> np.ndarray:
        looked.append(name)
        return person(4, at=(2000, 2000))[None]

    clips = [replace(clip(f"c{i}", None), pose=partial(far, f"c{i}")) for i in range(200)]
    with pytest.raises(MgkitError, match="many key-points of 64 of 64 clips"):
        prepared(tmp_path, clips)
    assert len(looked) == 64  # one job of poses


# --- every reader ---------------------------------------------------------------------------------------------------


def in_shares(reader: str, root: Path, size: tuple[int, int]) -> None:
    """Divide the key-points of a made tree by the sides of its frame."""
    for path in root.rglob("*_light_hand.csv" if reader == "imigue" else "*_skeleton.csv"):
        values = np.genfromtxt(path, delimiter=",", ndmin=2)
        start, step = (1, 3) if reader == "imigue" else (7, 11)
        for axis in (0, 1):
            values[:, start + axis :: step] /= size[axis]
        np.savetxt(path, values, fmt="%.6g", delimiter=",")
    for path in root.rglob("*.pkl"):
        content = pickle.loads(path.read_bytes())
        for one in content["annotations"]:
            one["keypoint"] = np.asarray(one["keypoint"], np.float32) / np.asarray(size, np.float32)
        path.write_bytes(pickle.dumps(content))


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["imigue", "smg", "ma52"])
def test_the_readers_of_datasets_pass_through_the_same_checks(tmp_path: Path, reader: str) -> None:
    root = tmp_path / "raw"
    if reader == "imigue":
        write_imigue(root, train=1, val=1, test=1, gestures=2, size=64, poses=["light_hand"])
    elif reader == "smg":
        write_smg(root, train=1, test=1, gestures=2, size=64)
    else:
        write_ma52(root, train=2, val=1, test=1, size=64)
    options: dict[str, Any] = {"size": 32, "workers": 1, "progress": False}
    pixels = mg.prepare(reader, root, tmp_path / "pixels", **options)
    video = next(path for path in root.rglob("*.mp4"))
    info = probe(video)
    in_shares(reader, root, (info.width, info.height))
    with pytest.raises(MgkitError, match="key-points are not pixels .* --pose-units shares"):
        mg.prepare(reader, root, tmp_path / "shares", **options)
    shares = mg.prepare(reader, root, tmp_path / "shares", pose_units="shares", **options)
    body = slice(0, 12)  # which block of finger tips is left is decided by distances, which shares distort
    for clip_id in pixels.ids:
        got, want = (in_source(clips, clip_id)[:, :, body] for clips in (shares, pixels))
        np.testing.assert_allclose(got, want, atol=0.05)


# --- the shell ------------------------------------------------------------------------------------------------------


def test_the_options_of_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = prepared(tmp_path, [clip("a", person()[None])])
    source = write_pyskl(made, tmp_path / "p.pkl")
    command = ["prepare", "pyskl", str(source), str(tmp_path / "two"), "--size", "32"]
    assert main([*command, "--pose-units", "pixels", "--pose-size", "stated", "--pose-fps", "20"]) == 0
    assert load_clips(tmp_path / "two").row("a")["fps"] == 20
    assert main([*command[:3], str(tmp_path / "three"), "--pose-step", "0"]) == 2
    assert "pose_step is 0.0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    shown = capsys.readouterr().out
    assert all(f"--pose-{name}" in shown for name in ("units", "size", "fps", "step"))


def slowly_smoothed(track: np.ndarray) -> np.ndarray:
    """A parabola by least squares through the seven frames around each one; at the ends that of the last seven."""
    out, count = np.empty_like(track), len(track)
    for t in range(count):
        first = min(max(t - 3, 0), count - 7)
        at = np.arange(first, first + 7)
        out[t] = np.polyval(np.polyfit(at - t, track[at], 2), 0)
    return out


def test_smoothing_is_a_parabola_through_seven_frames() -> None:
    track = np.random.default_rng(0).normal(50, 5, 30)
    pose = np.full((1, 30, 2, 3), 0.4, np.float32)
    pose[0, :, 0, 0], pose[0, :, 0, 1] = track, track[::-1]
    found = smoothed(pose, 7)
    assert np.allclose(found[0, :, 0, 0], slowly_smoothed(track), atol=1e-4)
    assert np.allclose(found[0, :, 0, 1], slowly_smoothed(track[::-1]), atol=1e-4)
    assert np.all(found[..., 2] == np.float32(0.4))
    assert np.allclose(found[0, :, 1], pose[0, :, 1])


def test_smoothing_has_no_delay() -> None:
    time = np.arange(60) / 30
    pose = np.ones((1, 60, 1, 3), np.float32)
    pose[0, :, 0, 0] = 100 + 3 * np.sin(2 * np.pi * 3 * time)
    found = smoothed(pose, 7)[0, :, 0, 0] - 100
    waves = np.stack([np.sin(2 * np.pi * 3 * time), np.cos(2 * np.pi * 3 * time)], 1)
    share, delay = np.linalg.lstsq(waves[5:-5], found[5:-5], rcond=None)[0] / 3
    assert 0.9 < share < 1
    assert abs(delay) < 0.01


def test_smoothing_stays_within_what_is_seen() -> None:
    """Each stretch on its own, whatever lies beyond the gap; short ones by a shorter window or not at all."""
    generator = np.random.default_rng(1)
    pose = generator.normal(50, 5, (2, 40, 3, 3)).astype(np.float32)
    pose[0, 12:15, 0] = np.nan  # 12 frames, then 25
    pose[0, 4:, 1] = np.nan  # four frames
    pose[0, 5:, 2] = np.nan  # five
    pose[1, :, 1] = np.nan
    found = smoothed(pose, 7)
    assert np.array_equal(np.isnan(found), np.isnan(pose))
    assert np.allclose(found[0, :12, 0, 0], slowly_smoothed(pose[0, :12, 0, 0]), atol=1e-4)
    assert np.allclose(found[0, 15:, 0, 1], slowly_smoothed(pose[0, 15:, 0, 1]), atol=1e-4)
    assert np.array_equal(found[0, :4, 1], pose[0, :4, 1])
    whole = np.polyval(np.polyfit(np.arange(5), pose[0, :5, 2, 0], 2), np.arange(5))
    assert np.allclose(found[0, :5, 2, 0], whole, atol=1e-4)
    assert np.array_equal(smoothed(pose[:, :1], 7), pose[:, :1], equal_nan=True)
