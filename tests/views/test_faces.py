"""With `blur_faces` nothing that a notebook or a folder keeps shows a face: what is sent and saved is decoded."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import mgkit as mg
from mgkit import notebook
from mgkit.data.clips import Clips, write_clip_folder
from mgkit.data.skeletons import LAYOUTS
from mgkit.data.video import read_frames, write_video
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, create_run, load_run, write_predictions
from mgkit.results.run.records import Predictions
from tests.tiny import CLASSES, tiny_row

SIZE, FRAMES = 128, 8
FACE = (slice(30, 62), slice(48, 80))  # rows and columns that the head fills
HAND = (slice(96, 120), slice(8, 40))  # the same stripes, far from the head
LAYOUT = LAYOUTS["coco17"]


def frame(number: int) -> np.ndarray:
    """Stripes two pixels wide where the face is, and where a hand is."""
    picture = np.full((SIZE, SIZE, 3), 120, np.uint8)
    for part in (FACE, HAND):
        picture[part][:, np.arange(picture[part].shape[1]) // 2 % 2 == 0] = (240, 240, 240)
        picture[part][:, np.arange(picture[part].shape[1]) // 2 % 2 == 1] = (10, 10, 10)
    picture[:8, : 16 * number] = 255
    return picture


def pose() -> np.ndarray:
    """(1, T, 17, 3): only an ear and the shoulders, so that no drawn joint lies in the middle of the face."""
    points = np.full((1, FRAMES, 17, 3), np.nan, np.float32)
    for name, place in {"nose": (64, 46), "left_shoulder": (100, 90), "right_shoulder": (28, 90)}.items():
        points[0, :, LAYOUT.joints.index(name)] = (*place, 1)
    return points


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """seen: a head in all frames; never: key-points without a head; bare: a video without key-points."""
    root = tmp_path_factory.mktemp("faces")
    (root / "videos").mkdir()
    rows, poses = [], []
    for name in ("bare", "never", "seen"):
        write_video(root / f"videos/{name}.mp4", map(frame, range(FRAMES)), 25, quality=5)
        points = None if name == "bare" else pose()
        if name == "never" and points is not None:
            points[:, :, :5] = np.nan
        rows.append(
            tiny_row(
                name, 0, split="test", video=f"videos/{name}.mp4", frames=FRAMES, width=SIZE, height=SIZE, end=FRAMES,
                persons=int(points is not None),
            )
        )  # fmt: skip
        poses.append(points)
    return write_clip_folder(root, rows, poses, CLASSES, LAYOUT)


@pytest.fixture(scope="module")
def run(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("run")
    create_run(root, recipe={}, clips=clips, pathways=("rgb",), environment={})
    scores = np.full((3, 4), 0.1, np.float32)
    scores[:, 1] = 0.7
    write_predictions(root, "test", Predictions(clips.ids, clips.labels, {"rgb": scores}))
    return load_run(root)


@pytest.fixture(autouse=True)
def unset() -> Iterator[None]:
    yield
    notebook._SETTINGS["blur_faces"] = False


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def stripes(picture: np.ndarray, part: tuple[slice, slice]) -> float:
    """How much of the stripes is left in a part of a picture of any size: about 200 of those that were written."""
    height, width = picture.shape[:2]
    rows, columns = (
        slice(round(one.start * side / SIZE), round(one.stop * side / SIZE))
        for one, side in zip(part, (height, width), strict=True)
    )
    across = np.median(picture[rows, columns].reshape(rows.stop - rows.start, -1, picture.shape[2]), axis=0)
    return float(
        np.percentile(across, 90) - np.percentile(across, 10)
    )  # a drawn limb is in few rows of a column


def shows_a_face(picture: np.ndarray) -> bool:
    return stripes(picture, FACE) > 60


def jpegs(player: mg.widgets.ClipPlayer) -> list[np.ndarray]:
    """Every frame in what the page is sent, which is what a notebook saves of it."""
    state = player.get_state()
    data = state["content"]["bytes"]
    assert data == player.content["bytes"]
    found = []
    for panel in state["content"]["panels"]:
        starts = [panel["offset"] + at for at in panel["clip"]["jpegs"]]
        found += [decoded(data[a:b]) for a, b in pairwise(starts)]
    assert len(re.findall(b"\xff\xd8\xff", data)) == len(found), "no other JPEG is hidden in it"
    return found


def preview(widget: Any) -> list[np.ndarray]:
    """The pictures of the static preview."""
    page = widget._repr_mimebundle_()[0]["text/html"]
    return [decoded(base64.b64decode(data)) for data in re.findall(r"base64,([^\"]+)\"", page)]


def crops(figure: mg.figures.PaperFigure) -> list[np.ndarray]:
    """The picture of each clip in a figure, as it is embedded in a PDF."""
    return [np.asarray(image.get_array()) for axes in figure.figure.axes for image in axes.images]


def test_the_test_sees_faces_where_nothing_is_blurred(clips: Clips, run: Run) -> None:
    assert all(map(shows_a_face, jpegs(mg.widgets.ClipPlayer(clips, "seen"))))
    assert all(map(shows_a_face, crops(mg.figures.film_strip(clips, "seen", 4))))
    assert shows_a_face(decoded(thumbnails(mg.widgets.Gallery(run, clips=clips), ["seen"])[0]))
    assert mg.widgets.ClipPlayer(clips, "bare").content["panels"][0]["clip"]["problems"] == []


def thumbnails(gallery: mg.widgets.Gallery, clip_ids: list[str]) -> list[bytes]:
    sent: list[bytes] = []
    gallery.send = lambda content, buffers=None: sent.extend(buffers or [])  # type: ignore[method-assign]
    gallery._send_pictures(clip_ids)
    return sent


@pytest.mark.parametrize("clip_id", ["seen", "never", "bare"])
def test_the_player_sends_no_face(clips: Clips, clip_id: str) -> None:
    player = mg.widgets.ClipPlayer(clips, clip_id, blur_faces=True, compare="seen")
    frames = jpegs(player)
    assert len(frames) == 2 * FRAMES
    assert not any(map(shows_a_face, frames))
    assert all(stripes(one, HAND) > 100 for one in frames[FRAMES:]), "only the head is blurred"
    problems = player.content["panels"][0]["clip"]["problems"]
    never = ["No head is seen in this clip: its frames are blurred as a whole."]
    assert problems == ([] if clip_id == "seen" else never)
    assert (stripes(frames[0], HAND) > 100) == (clip_id == "seen")
    for one in (player.to_figure(), player._preview()[0]):
        assert crops(one)
        assert not any(map(shows_a_face, crops(one)))


def test_the_static_preview_has_no_face(clips: Clips, run: Run) -> None:
    """The picture that a saved notebook shows on GitHub: all values in it are those of the blurred strip."""
    plain, blurred = (
        preview(mg.widgets.ClipPlayer(clips, "seen", blur_faces=blur)) for blur in (False, True)
    )
    assert len(plain) == len(blurred) == 1
    strip = mg.figures.film_strip(clips, "seen", 6, blur_faces=True)
    np.testing.assert_array_equal(blurred[0], decoded(strip.png(130)))
    assert (plain[0] != blurred[0]).any()


def test_gallery_sheets_and_explorer_have_no_face(clips: Clips, run: Run) -> None:
    chosen = mg.widgets.Selection(clips.ids)
    gallery = mg.widgets.Gallery(run, clips=clips, selection=chosen, blur_faces=True)
    sent = [decoded(data) for data in thumbnails(gallery, clips.ids)]
    assert len(sent) == 3
    assert not any(map(shows_a_face, sent))
    assert stripes(sent[clips.ids.index("seen")], HAND) > 100
    explorer = mg.widgets.ErrorExplorer(run, clips=clips, blur_faces=True)
    assert explorer.player is not None
    assert not any(map(shows_a_face, jpegs(explorer.player)))
    for figure in (
        gallery.to_figure(),
        explorer.to_figure("gallery"),
        explorer.to_figure("player"),
        mg.figures.contact_sheet(clips, blur_faces=True),
        mg.figures.clip_sheet(clips, ["seen"], ["x"], ["right"], blur_faces=True),
    ):
        assert crops(figure)
        assert not any(map(shows_a_face, crops(figure)))
        assert "faces are blurred" in figure.note
    assert (
        "2 pictures as a whole: no head is seen there"
        in mg.figures.contact_sheet(clips, blur_faces=True).note
    )


def test_saved_clips_have_no_face(clips: Clips, tmp_path: Path) -> None:
    paths = mg.figures.save_clips(clips, ["seen", "bare"], tmp_path / "new", blur_faces=True)
    assert [path.name for path in paths] == ["seen.mp4", "bare.mp4"]
    for path in paths:
        frames = read_frames(path, range(FRAMES))
        assert len(frames) == FRAMES
        assert not any(map(shows_a_face, frames))
    seen = read_frames(paths[0], range(FRAMES))
    assert all(stripes(one, HAND) > 100 for one in seen)
    assert [(one[4] > 200).all(-1).sum() // 16 for one in seen] == list(range(FRAMES)), "frame for frame"
    (plain,) = mg.figures.save_clips(clips, ["seen"], tmp_path / "plain")
    assert all(map(shows_a_face, read_frames(plain, range(FRAMES))))
    with pytest.raises(MgkitError, match="has no clip 'nobody'"):
        mg.figures.save_clips(clips, ["nobody"], tmp_path)


@pytest.mark.slow
def test_one_setting_holds_for_a_whole_notebook(clips: Clips, run: Run, tmp_path: Path) -> None:
    assert mg.set_up_notebook(blur_faces=True).endswith(", faces blurred")
    assert not any(map(shows_a_face, jpegs(mg.widgets.ClipPlayer(clips, "seen"))))
    assert not any(map(shows_a_face, crops(mg.figures.film_strip(clips, "seen"))))
    assert not any(map(shows_a_face, crops(mg.figures.contact_sheet(clips))))
    gallery = mg.widgets.Gallery(run, clips=clips)
    assert not any(shows_a_face(decoded(data)) for data in thumbnails(gallery, clips.ids))
    (path,) = mg.figures.save_clips(clips, ["seen"], tmp_path)
    assert not any(map(shows_a_face, read_frames(path, range(FRAMES))))
    drawn = {path.name: path for path in mg.figures.draw_figures(run, clips, progress=False)}
    blurred = mg.figures.contact_sheet(clips.select(clips.ids), blur_faces=True).save(tmp_path / "blurred")
    png = next(path for path in blurred if path.suffix == ".png")
    np.testing.assert_array_equal(decoded(drawn["contact_sheet.png"].read_bytes()), decoded(png.read_bytes()))
    # What is asked for comes first, and a new call of the first cell decides anew.
    assert all(map(shows_a_face, jpegs(mg.widgets.ClipPlayer(clips, "seen", blur_faces=False))))
    assert "blurred" not in mg.set_up_notebook()
    assert all(map(shows_a_face, crops(mg.figures.film_strip(clips, "seen"))))


@pytest.mark.slow
def test_a_saved_notebook_holds_no_face(clips: Clips, run: Run) -> None:
    """A notebook is run with its widgets' state kept, and every picture anywhere in its JSON is looked at."""
    import nbformat
    from nbclient import NotebookClient

    cells = [
        f"import mgkit as mg\nmg.set_up_notebook(blur_faces=True)\nclips = mg.load_clips({str(clips.root)!r})",
        "mg.widgets.ClipPlayer(clips, 'seen')",
        f"mg.widgets.ErrorExplorer(mg.load_run({str(run.root)!r}), clips=clips)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=300, kernel_name="python3").execute()
    previews, frames = [], []
    for text in re.findall(r"[A-Za-z0-9+/=]{400,}", nbformat.writes(book).replace("\\n", "")):
        data = base64.b64decode(text + "=" * (-len(text) % 4))
        starts = [match.start() for match in re.finditer(b"\xff\xd8\xff", data)]
        frames += [decoded(data[a:b]) for a, b in pairwise([*starts, len(data)])]
        previews += [decoded(data)] if data[:4] == b"\x89PNG" else []
    assert len(previews) == 2
    assert len(frames) == 2 * FRAMES, "of the player, and of the explorer's"
    assert any(stripes(one, HAND) > 100 for one in frames), "these are the frames"
    assert not any(map(shows_a_face, frames))
    strip = mg.figures.film_strip(clips, "seen", 6, blur_faces=True)
    np.testing.assert_array_equal(previews[0], decoded(strip.png(130)))
