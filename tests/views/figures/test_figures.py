"""Paper figures: what a venue's checks would refuse, and that the awkward runs can be drawn too."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.status import write_status
from mgkit.results.scores.scores import import_scores
from mgkit.results.stats.metrics import per_class
from mgkit.views import figures
from mgkit.views.analysis import confusions
from mgkit.views.figures import style
from mgkit.views.figures.style import VENUES, PaperFigure
from tests.results.fake_run import fake_clips, fake_frames, fake_run

pytestmark = [pytest.mark.usefixtures("flat"), pytest.mark.slow]

RUN_FIGURES: dict[str, Callable[[Run], PaperFigure]] = {
    "training_curves": figures.training_curves,
    "confusion": figures.confusion,
    "confusion clustered": lambda run: figures.confusion(run, normalise=False, order="cluster"),
    "class_accuracy": figures.class_accuracy,
    "class precision": lambda run: figures.class_accuracy(run, metric="precision", order="groups"),
    "prototype_map": figures.prototype_map,
}
RUNS: dict[str, dict[str, Any]] = {
    "2 classes": {"classes": 2},
    "9 classes": {"classes": 9},
    "52 classes": {"classes": 52, "per_class": 8},
    "pose only, two never seen": {"classes": 9, "pathways": ("pose",), "unseen": (0, 3)},
}


def texts(figure: PaperFigure) -> Iterator[Text]:
    for text in figure.figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text().strip() and text.get_visible():
            yield text


def content(pdf: bytes) -> bytes:
    """The PDF with its streams unpacked, to look for operators in."""
    unpacked = b""
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", pdf, re.S):
        try:
            unpacked += zlib.decompress(found[1])
        except zlib.error:
            continue
    return pdf + unpacked


def check(figure: PaperFigure, width: float) -> bytes:
    """What every venue checks, and that nothing sticks out of the page; returns the PDF."""
    pdf = figure.pdf()
    assert b"/Type3" not in content(pdf)
    assert b"/FontFile2" in pdf, "fonts are embedded as TrueType (Type 42)"
    box = re.search(rb"/MediaBox \[ ?([\d. ]+?) ?\]", pdf)
    assert box is not None
    x0, y0, x1, y1 = map(float, box[1].split())
    assert (x0, y0) == (0, 0)
    assert x1 == pytest.approx(72 * width, abs=0.01)
    assert y1 < 72 * 9.6, "higher than a page"
    assert b"CreationDate" not in pdf
    assert min(text.get_fontsize() for text in texts(figure)) >= 6
    with style.styled():
        drawn = figure.figure.get_tightbbox()  # in inches, of the layout that is in the PDF
    height = figure.figure.get_figheight()
    assert drawn.x0 > -0.01, drawn
    assert drawn.y0 > -0.01, drawn
    assert drawn.x1 < width + 0.01, drawn
    assert drawn.y1 < height + 0.01, drawn
    return pdf


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("name", RUN_FIGURES)
def test_every_figure_of_every_kind_of_run(make_run: Callable[..., Run], name: str, kind: str) -> None:
    run = make_run(**RUNS[kind])
    figure = RUN_FIGURES[name](run)
    assert figure.figure.get_figwidth() in VENUES["cvpr"]
    check(figure, figure.figure.get_figwidth())
    assert len(figure.data)
    assert figure.note


@pytest.mark.parametrize("venue", VENUES)
def test_widths_are_exact_at_every_venue(make_run: Callable[..., Run], venue: str) -> None:
    check(figures.confusion(make_run(9), venue=venue, columns=1), VENUES[venue][0])
    check(figures.class_accuracy(make_run(9), venue=venue, columns=2), VENUES[venue][1])


@pytest.mark.parametrize("name", ["confusion", "class_accuracy", "prototype_map", "training_curves"])
def test_many_classes_in_one_narrow_column(make_run: Callable[..., Run], name: str) -> None:
    check(getattr(figures, name)(make_run(32), columns=1), VENUES["cvpr"][0])


@pytest.mark.parametrize("name", ["training_curves", "confusion", "class_accuracy", "prototype_map"])
def test_a_rerun_is_the_same_file_byte_for_byte(
    make_run: Callable[..., Run], tmp_path: Path, name: str
) -> None:
    run = make_run(9)
    first = RUN_FIGURES[name](run).save(tmp_path / "first")
    mpl.rcParams["font.size"] = 31  # the user's own style changes nothing
    try:
        again = RUN_FIGURES[name](load_run(run.root)).save(tmp_path / "again.pdf")
    finally:
        mpl.rcParams["font.size"] = mpl.rcParamsDefault["font.size"]
    assert [path.name for path in again] == ["again.pdf", "again.png", "again.csv"]
    for one, two in zip(first, again, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.suffix


def test_drawing_leaves_the_session_alone(make_run: Callable[..., Run]) -> None:
    import matplotlib.pyplot as plt

    before, open_figures = dict(mpl.rcParams), plt.get_fignums()
    figures.confusion(make_run(9)).png(50)
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == open_figures


def test_a_failed_save_leaves_the_old_files(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = figures.confusion(make_run(2))
    figure.save(tmp_path / "one")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    monkeypatch.setattr("mgkit.views.figures.style.PaperFigure.pdf", full)
    with pytest.raises((OSError, MgkitError)):
        figure.save(tmp_path / "one")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_notebook_shows_a_png_of_readable_size(make_run: Callable[..., Run]) -> None:
    png, size = figures.confusion(make_run(2))._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert size["width"] == round(3.25 * 110)


# What each one shows


def test_confusion_data_and_order(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    there = run.predictions("test")
    for order in ("groups", "cluster", "given"):
        data = figures.confusion(run, order=order, pathway="rgb").data
        assert len(data) == 81
        assert data["clips"].sum() == len(there)
        assert data.groupby("true")["share"].sum().round(6).eq(1).all()
    assert data["true"].drop_duplicates().tolist() == list(run.classes.names)
    one = data[(data["true"] == run.classes.names[0]) & (data["predicted"] == run.classes.names[0])].iloc[0]
    assert one["clips"] == (there.kinds("rgb", 0) == "TP").sum()
    with pytest.raises(MgkitError, match="'alphabet'"):
        figures.confusion(run, order="alphabet")
    with pytest.raises(MgkitError, match="'journal' is not a known venue"):
        figures.confusion(run, venue="journal")
    with pytest.raises(MgkitError, match="columns is 3"):
        figures.confusion(run, columns=3)


def test_groups_stay_together(tmp_path: Path) -> None:
    classes = Classes(("a", "b", "c", "d", "e"), ("hand", "head", "hand", "body", "head"))
    run = fake_run(tmp_path / "run", fake_clips(tmp_path / "clips", classes, 12), epochs=1)
    order = figures.confusion(run).data["true"].drop_duplicates().tolist()
    assert order == ["a", "c", "b", "e", "d"]
    shown = {text.get_text() for text in texts(figures.confusion(run))}
    assert {"hand", "head", "body", "true class", "predicted class", "n"} <= shown


@pytest.fixture
def gap(tmp_path: Path) -> Run:
    """Class 2 has training clips and none in the test split; names are awkward."""
    names = (
        "costs $5 or $6",
        "摸脸",
        "absent",
        "an exceedingly long name of a gesture that nobody would ever read",
    )
    clips = fake_clips(tmp_path / "clips", Classes(names), 16)
    kept = [
        i
        for i, s, n in zip(clips.ids, clips.table["split"], clips.labels, strict=True)
        if s != "test" or n != 2
    ]
    return fake_run(tmp_path / "run", clips.select(kept), epochs=2, splits=("test",))


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_class_without_test_clips_and_awkward_names(gap: Run) -> None:
    for draw in RUN_FIGURES.values():
        figure = draw(gap)
        check(figure, figure.figure.get_figwidth())
    assert "no clip in 1 grey row" in figures.confusion(gap).note
    data = figures.class_accuracy(gap).data
    absent = data[data["class"] == "absent"]
    assert (absent["support"] == 0).all()
    assert absent["recall"].isna().all()
    assert data.groupby("output")["class"].apply(list).iloc[0][-1] == "absent"
    shown = {text.get_text() for text in texts(figures.class_accuracy(gap))}
    assert any(text.startswith("costs $5 or $6 (") for text in shown), "a dollar sign is no formula"
    figures.prototype_map(gap, highlight="absent").pdf()


def test_class_accuracy_data_is_that_of_the_metrics(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    figure, there = figures.class_accuracy(run), run.predictions("test")
    expected = per_class(there.labels, there.predicted("pose"), 9, run.classes.names).set_index("class")
    found = figure.data[figure.data["output"] == "pose"].set_index("class").loc[expected.index]
    pd.testing.assert_frame_equal(found[expected.columns], expected)
    fused = figure.data[figure.data["output"] == "fused"]["recall"]
    assert all(a >= b for a, b in pairwise(fused))
    bars = [patch for patch in figure.figure.axes[0].patches if patch.get_width()]
    assert max(bar.get_width() for bar in bars) == pytest.approx(100 * figure.data["recall"].max())


def test_class_accuracy_in_other_measures_and_orders(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    table = figures.class_accuracy(run, metric="f1").data
    fused = table[table["output"] == "fused"]
    assert all(a >= b for a, b in pairwise(fused["f1"]))
    assert "Wilson" not in figures.class_accuracy(run, metric="f1").note
    shown = {text.get_text() for text in texts(figures.class_accuracy(run, metric="precision"))}
    assert "precision (%)" in shown
    given = figures.class_accuracy(run, order="given").data["class"].drop_duplicates()
    assert given.tolist() == list(run.classes.names)
    with pytest.raises(MgkitError, match="'top1'"):
        figures.class_accuracy(run, metric="top1")
    with pytest.raises(MgkitError, match="'recall'"):
        figures.class_accuracy(run, order="recall")


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("classes", [2, 9, 32])
def test_confusion_of_two_runs_is_their_difference(
    make_run: Callable[..., Run], classes: int, normalise: bool
) -> None:
    run, other = make_run(classes, seed=1), make_run(classes, seed=2, noise=4.0)
    figure = figures.confusion(run, other=other, normalise=normalise, order="given")
    check(figure, figure.figure.get_figwidth())
    ours, theirs = (figures.confusion(each, order="given").data for each in (run, other))
    pd.testing.assert_series_equal(figure.data["clips"], ours["clips"])
    pd.testing.assert_series_equal(figure.data["other_clips"], theirs["clips"], check_names=False)
    pd.testing.assert_series_equal(figure.data["other_share"], theirs["share"], check_names=False)
    mesh = figure.figure.axes[1].collections[0]
    column = "share" if normalise else "clips"
    np.testing.assert_allclose(
        np.asarray(mesh.get_array()).ravel(), ours[column].astype(float) - theirs[column].astype(float)
    )
    low, high = mesh.get_clim()
    assert low == -high
    assert np.allclose(mesh.to_rgba([0.0])[0, :3], style.diverging().colors[128], atol=0.02), (
        "zero is neutral"
    )
    assert "difference" in figure.note


def test_prototype_map_marks_the_class_asked_for(make_run: Callable[..., Run]) -> None:
    run = make_run(32)
    name = run.classes.names[4]
    figure, there = figures.prototype_map(run, pathway="pose", highlight=name), run.predictions("test")
    clips = figure.data[figure.data["kind"] == "clip"]
    assert clips["role"].tolist() == there.kinds("pose", 4).tolist()
    assert (figure.data["kind"] == "prototype").sum() == 32
    shown = {text.get_text() for text in texts(figure)}
    assert name in shown
    assert figure.figure.axes[1].get_title(loc="left") == name, "above the panel, where it hides no clip"
    assert f"TP: recognised ({(clips['role'] == 'TP').sum()})" in shown
    with pytest.raises(MgkitError, match="there is no class 'wave'"):
        figures.prototype_map(run, highlight="wave")
    with pytest.raises(MgkitError, match="choose at most 10"):
        figures.prototype_map(run, chosen=run.classes.names[:11])
    few = figures.prototype_map(run, chosen=run.classes.names[:2])
    assert run.classes.names[1] in {text.get_text() for text in texts(few)}


def test_prototype_map_without_prototypes_and_with_none_for_a_class(make_run: Callable[..., Run]) -> None:
    bare = figures.prototype_map(make_run(9, prototypes=False))
    assert set(bare.data["kind"]) == {"clip"}
    assert not {"prototype", "its prototype"} & {text.get_text() for text in texts(bare)}
    run = make_run(9, pathways=("pose",), unseen=(0, 3))
    partly = figures.prototype_map(run, highlight=run.classes.names[3])
    assert f"no prototype yet: {run.classes.names[0]}, {run.classes.names[3]}" in partly.note
    assert "its prototype" not in {text.get_text() for text in texts(partly)}


def test_colours_of_roles_are_those_of_okabe_and_ito() -> None:
    assert style.KINDS == {"TP": "#0072B2", "FN": "#E69F00", "FP": "#D55E00"}
    assert len(set(style.KIND_MARKERS.values())) == 3
    assert not set(style.KINDS.values()) & {*style.OUTPUT_COLOURS.values(), *style.CLASS_COLOURS}


def test_the_ramp_is_even_in_lightness() -> None:
    colours = np.asarray(style.ramp().colors)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(luminance) - 16
    assert lightness[0] == pytest.approx(100, abs=0.3)
    steps = -np.diff(lightness)
    assert steps.min() > 0.5 * steps.mean()
    assert steps.max() < 1.5 * steps.mean()


def test_curves_show_stages_and_steps_of_the_rate(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    clips = make_run(9).clips()
    run = fake_run(tmp_path / "run", clips, epochs=12, splits=())
    assert len(figures.training_curves(run).figure.axes) == 2
    for name in ("rgb", "pose"):
        fake_run(run.root / "stages" / name, clips, pathways=(name,), epochs=3, splits=())
    figure = figures.training_curves(run)
    assert len(figure.figure.axes) == 3
    check(figure, VENUES["cvpr"][1])
    check(figures.training_curves(run, columns=1), VENUES["cvpr"][0])
    assert figure.data["run"].value_counts().to_dict() == {"run": 12, "stage pose": 3, "stage rgb": 3}
    shown = [text.get_text() for text in texts(figure)]
    assert shown.count("lr ÷ 10") == 2
    assert {"RGB CE", "Pose prototypes", "total", "Fused", "RGB alone"} <= set(shown)


def test_curves_tell_terms_apart_and_mark_no_schedule(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    run = fake_run(tmp_path / "run", make_run(9).clips(), pathways=("pose",), epochs=9, splits=())
    history = run.history()
    history["loss_groups_pose"] = history["loss_semantic_pose"] = 1.0
    history["learning_rate"] = [0.1, 0.4, 0.7, 1, 1, 1, 1, 0.1, 0.1]  # a warm-up and a step
    history.to_csv(run.root / "history.csv", index=False)
    figure = figures.training_curves(run)
    assert [text.get_text() for text in texts(figure) if "lr" in text.get_text()] == ["lr ÷ 10"] * 2
    legend = figure.figure.axes[0].get_legend()
    assert legend is not None
    looks = [(line.get_color(), line.get_linestyle()) for line in legend.get_lines()]
    assert len(looks) == len(set(looks))
    assert {"Pose groups", "Pose semantic"} <= {text.get_text() for text in legend.get_texts()}


def test_curves_of_the_first_epoch_and_before_it(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    run = fake_run(tmp_path / "one", make_run(9).clips(), epochs=1, splits=())
    figure = figures.training_curves(run)
    check(figure, VENUES["cvpr"][1])
    for axes in figure.figure.axes:
        assert axes.get_xlim() == (0.5, 1.5)
        assert 1 in axes.get_xticks()
        assert all(line.get_marker() == "o" for line in axes.get_lines() if len(line.get_xdata()))
    (run.root / "history.csv").unlink()
    with pytest.raises(
        MgkitError, match=r"was not trained in epochs, so it has no curves: pass a run of mg\.train"
    ):
        figures.training_curves(run)
    write_status(run.root, "running", 0, 1)
    with pytest.raises(MgkitError, match="wait for the first epoch"):
        figures.training_curves(run)


# Clips


def test_film_strip_asks_for_even_frames_and_draws_the_joints_seen(
    tmp_path: Path, frames: list[tuple[Path, list[int]]]
) -> None:
    clips = fake_clips(tmp_path / "clips", 2, 3, video=True)
    clip_id = clips.ids[0]
    total = clips.row(clip_id)["frames"]
    figure = figures.film_strip(clips, clip_id, frames=5)
    ((path, asked),) = frames
    assert path == clips.video(clip_id)
    assert (asked[0], asked[-1], len(asked)) == (0, total - 1, 5)
    assert np.ptp(np.diff(asked)) <= 1
    assert figure.data["frame"].tolist() == asked
    seen = np.isfinite(clips.pose(clip_id)[0, asked, :, 0]).sum(1)
    assert figure.data["joints"].tolist() == seen.tolist()
    assert seen.max() < 17, "legs are not seen, and not drawn"
    check(figure, VENUES["cvpr"][1])
    assert len(figure.figure.axes) == 5
    assert figure.figure.axes[0].images[0].get_extent() == [0, 160, 200, 0]

    longer = figures.film_strip(clips, clip_id, frames=total + 50)
    assert longer.data["frame"].tolist() == list(range(total))
    check(figures.film_strip(clips, clip_id, columns=1), VENUES["cvpr"][0])
    without = figures.film_strip(clips, clip_id, skeleton=False)
    assert not without.figure.axes[0].collections
    with pytest.raises(MgkitError, match="at least one"):
        figures.film_strip(clips, clip_id, frames=0)
    with pytest.raises(MgkitError, match="no clip 'nobody'"):
        figures.film_strip(clips, "nobody")


def test_film_strips_of_poses_alone_of_video_alone_and_of_nothing(
    tmp_path: Path, frames: list[tuple[Path, list[int]]]
) -> None:
    posed = fake_clips(tmp_path / "posed", 2, 3)
    figure = figures.film_strip(posed, posed.ids[0])
    check(figure, VENUES["cvpr"][1])
    assert not frames
    assert not figure.figure.axes[0].images
    assert figure.figure.axes[0].collections
    filmed = fake_clips(tmp_path / "filmed", 2, 3, video=True, pose=False)
    figure = figures.film_strip(filmed, filmed.ids[0])
    assert figure.figure.axes[0].images
    assert not figure.figure.axes[0].collections
    nothing = fake_clips(tmp_path / "nothing", 2, 3, pose=False)
    with pytest.raises(MgkitError, match="neither a video nor a pose"):
        figures.film_strip(nothing, nothing.ids[0])


def test_a_skeleton_never_joins_what_was_not_seen() -> None:
    from matplotlib.figure import Figure

    from mgkit.data.skeletons import Skeleton
    from mgkit.views.figures.clips import SIDES, draw_skeleton

    skeleton = Skeleton("t", ("top", "left_a", "right_a"), ((0, 1), (0, 2), (1, 2)), ((1, 2),))
    axes = Figure().add_subplot()
    draw_skeleton(axes, np.array([[[1, 1, 1], [2, 2, 1], [np.nan, np.nan, np.nan]]], np.float32), skeleton)
    rim, line, joints = axes.collections
    assert len(line.get_paths()) == len(rim.get_paths()) == 1
    assert len(joints.get_offsets()) == 2
    np.testing.assert_allclose(line.get_edgecolor()[0], mpl.colors.to_rgba(SIDES["left"]))
    draw_skeleton(axes, np.full((1, 3, 3), np.nan, np.float32), skeleton)  # nothing seen at all


def test_contact_sheet(tmp_path: Path, frames: list[tuple[Path, list[int]]]) -> None:
    clips = fake_clips(tmp_path / "clips", 32, 6, video=True)
    sheet = figures.contact_sheet(clips, 3)
    check(sheet, VENUES["cvpr"][1])
    assert sheet.data["class"].nunique() == 16
    assert "without 16 rarer classes" in sheet.note
    assert sheet.data.groupby("class").size().max() == 3
    names = clips.classes.names[:3]
    small = figures.contact_sheet(clips, 2, classes=names, columns=1)
    check(small, VENUES["cvpr"][0])
    assert sorted(set(small.data["class"])) == sorted(names)
    assert small.data.equals(figures.contact_sheet(clips, 2, classes=names, columns=1).data)
    with pytest.raises(MgkitError, match="no clip of illustrative"):
        figures.contact_sheet(clips.select(clips.ids[:1]), classes=[clips.classes.names[-1]])
    with pytest.raises(MgkitError, match="n is 0"):
        figures.contact_sheet(clips, 0)


# All at once


def test_draw_figures_draws_all_there_is(
    make_run: Callable[..., Run],
    tmp_path: Path,
    frames: list[tuple[Path, list[int]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run(3, video=True)
    written = figures.draw_figures(run)
    names = {path.stem for path in written if path.suffix == ".pdf"}
    assert names == {
        "training_curves", "class_accuracy", "contact_sheet", "ambiguous_1", "ambiguous_2", "ambiguous_3",
        *(f"confusion_{name}" for name in ("rgb", "pose", "fused")),
        *(f"prototype_{what}_{name}" for what in ("map", "similarity") for name in ("rgb", "pose")),
    }  # fmt: skip
    assert len(written) == 3 * len(names)
    assert {path.parent for path in written} == {run.figures}
    assert all(path.stat().st_size for path in written)

    monkeypatch.setattr(
        PaperFigure, "save", lambda self, path: [path]
    )  # what would be drawn is enough from here on
    array = run.predictions("test")
    other = import_scores(
        tmp_path / "other", clip_ids=array.clip_ids, labels=array.labels, probabilities=array.scores(),
        classes=run.classes, name="other",
    )  # fmt: skip
    drawn = {path.stem for path in figures.draw_figures(other)}
    assert drawn == {"confusion_fused", "class_accuracy"}
    assert written.skipped.keys() == {"joint_importance"}
    skipped = figures.draw_figures(other).skipped
    assert skipped.keys() == {
        "training_curves", "prototype_map", "prototype_similarity", "joint_importance", "contact_sheet", "ambiguous",
    }  # fmt: skip
    assert "prototypical refinement" in skipped["prototype_similarity"]
    assert "ambiguous_1" in {path.stem for path in figures.draw_figures(other, run.clips())}


# Names that are too long


def test_drawing_all_figures_shows_how_far_it_is(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(3, video=True)
    monkeypatch.setattr(PaperFigure, "save", lambda self, path: [path])
    monkeypatch.setattr("mgkit.data.video.read_frames", fake_frames)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    drawn = figures.draw_figures(run)
    shown = capsys.readouterr().err
    assert f"0/{len(drawn)}" in shown
    assert "training_curves" in shown, "the figure that is being drawn"
    figures.draw_figures(run, progress=False)
    assert capsys.readouterr().err == ""


def test_names_are_cut_to_fit_and_stay_apart() -> None:
    names = ["touch face with the left hand", "touch face with the right hand", "nod"]
    cut = style.fit_names(names, 50, 7)
    assert len(set(cut)) == 3
    assert cut[2] == "nod"
    assert all(style.text_width(name, 7) <= 50 for name in cut)
    assert all("…" in name for name in cut[:2])
    assert style.fit_text("short", 100, 7) == "short"
    assert style.wrap_text("play or adjust hair", 40, 7) == "play or adjust\nhair"
    assert style.balanced("play or adjust hair", 7) == "play or\nadjust hair"
    assert style.wrap_text("illustrative", 10, 7).endswith("…")


# ---------------------------------------------------------------------------------------------------------------------
# Some classes, and the others together


def test_a_confusion_matrix_of_some_classes(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    names, predictions = run.classes.names, run.predictions()
    chosen = [names[5], names[2], names[0]]
    figure = figures.confusion(run, classes=chosen)
    check(figure, VENUES["cvpr"][0])
    assert figure.data["true"].drop_duplicates().tolist() == [*chosen, "others (6)"]
    assert "others: 6 classes not shown" in figure.note
    assert figure.data["clips"].sum() == len(predictions)
    rest = [k for k in range(9) if k not in (5, 2, 0)]
    cell = figure.data.query("true == 'others (6)' and predicted == @names[2]").iloc[0]
    told = sum(
        int(t in rest and p == 2) for t, p in zip(predictions.labels, predictions.predicted(), strict=True)
    )
    assert cell["clips"] == told
    assert cell["support"] == np.isin(predictions.labels, rest).sum()
    grey = [mesh for mesh in figure.figure.axes[1].collections if mesh.get_cmap().name == "mgkit_greys"]
    shown = ~np.ma.getmaskarray(np.ma.asarray(grey[0].get_array())).reshape(4, 4)
    assert shown.tolist() == [[i == 3 or k == 3 for k in range(4)] for i in range(4)]
    whole = figures.confusion(run, classes=list(reversed(names)))
    assert whole.data["true"].drop_duplicates().tolist() == list(reversed(names))
    assert "others" not in whole.note


def test_the_most_confused_classes_hold_the_most_frequent_confusions(make_run: Callable[..., Run]) -> None:
    run = make_run(32, 8)
    figure = figures.confusion(run, most_confused=10)
    shown = figure.data["true"].drop_duplicates().tolist()
    assert len(shown) == 11
    table = confusions(run, 5)
    assert {*table["true"], *table["predicted"]} <= set(shown)
    accuracy = figures.class_accuracy(run, most_confused=10)
    assert set(accuracy.data["class"]) == set(shown)
    for figure in (figures.confusion(run, most_confused=5, other=make_run(32, 8, seed=1)), accuracy):
        check(figure, VENUES["cvpr"][0])


def test_class_accuracy_of_some_classes_pools_the_others(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    chosen = [run.classes.names[5], run.classes.names[2]]
    for columns in (1, 2):
        figure = figures.class_accuracy(run, classes=chosen, columns=columns)
        check(figure, VENUES["cvpr"][columns - 1])
        fused = figure.data[figure.data["output"] == "fused"].set_index("class")
        assert fused.index.tolist() == [*chosen, "others (7)"]
        table = per_class(run).set_index("class")
        rest = table.drop(chosen)
        assert fused.loc[chosen[0], "recall"] == table.loc[chosen[0], "recall"]
        assert fused.loc["others (7)", "recall"] == rest["correct"].sum() / rest["support"].sum()
        assert fused.loc["others (7)", "precision"] == rest["correct"].sum() / rest["predicted"].sum()


@pytest.mark.parametrize("draw", [figures.confusion, figures.class_accuracy])
def test_classes_that_cannot_be_shown(make_run: Callable[..., Run], draw: Callable[..., PaperFigure]) -> None:
    run = make_run(9)
    name = run.classes.names[0]
    for options, match in (
        ({"classes": [name, name]}, "twice"),
        ({"classes": []}, "no name"),
        ({"classes": name}, "must be a list"),
        ({"classes": ["waving"]}, "waving"),
        ({"classes": [name], "most_confused": 3}, "use one of them"),
        ({"most_confused": 1}, "2 or more"),
    ):
        with pytest.raises(MgkitError, match=match):
            draw(run, **options)
    labels = np.array([0, 1, 2])
    right = import_scores(
        run.root.with_name(f"right-{draw.__name__}"), clip_ids=list("abc"), labels=labels,
        probabilities=np.eye(3)[labels], classes=Classes(("a", "b", "c")), name="right",
    )  # fmt: skip
    with pytest.raises(MgkitError, match="nothing is confused"):
        draw(right, most_confused=2)


@pytest.mark.parametrize("colour", ["class", "kind", "subject", "confidence", "distance"])
@pytest.mark.parametrize("name", ["52 classes", "pose only, two never seen"])
def test_a_map_of_one_colour(make_run: Callable[..., Run], name: str, colour: str) -> None:
    run = make_run(**RUNS[name])
    first, again = (figures.prototype_map(run, colour=colour, paths=True, columns=1) for _ in range(2))
    assert check(first, VENUES["cvpr"][0]) == again.pdf()


def test_colours_of_ones_own_on_a_map(make_run: Callable[..., Run]) -> None:
    run = make_run(32, 8)
    names = run.classes.names
    wanted = {name: f"#{k:02x}8040" for k, name in enumerate(names[:12])}  # more than there are colours for
    figure = figures.prototype_map(run, colour="class", colours=wanted)
    legend = figure.figure.axes[0].get_legend()
    assert legend is not None
    shown = {
        text.get_text(): line.get_color()
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert {shown[name] for name in shown if name in wanted} <= set(wanted.values())
    assert set(wanted.values()) <= set(shown.values())
    part = figures.prototype_map(run, colour="class", chosen=names[:2], colours={names[0]: "red"})
    legend = part.figure.axes[0].get_legend()
    assert legend is not None
    assert [line.get_color() for line in legend.get_lines()][:2] == ["red", style.CLASS_COLOURS[0]]
    for colours, match in (({names[0]: "reddish"}, "not a colour"), ({"waltz": "red"}, "waltz")):
        with pytest.raises(MgkitError, match=match):
            figures.prototype_map(run, colours=colours)


def test_paths_have_the_colour_of_their_class_and_a_beginning(make_run: Callable[..., Run]) -> None:
    run = make_run(9)
    figure = figures.prototype_map(run, colour="class", paths=True)
    lines = [line for line in figure.figure.axes[0].get_lines() if line.get_color() != "white"]
    paths = [line for line in lines if len(line.get_xdata()) > 1]  # type: ignore[arg-type]
    rings = [line for line in lines if len(line.get_xdata()) == 1]  # type: ignore[arg-type]
    assert [line.get_color() for line in paths] == list(style.CLASS_COLOURS[:9])
    assert [ring.get_markeredgecolor() for ring in rings] == list(style.CLASS_COLOURS[:9])
    for path, ring in zip(paths, rings, strict=True):
        assert ring.get_markerfacecolor() == "white"
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (path.get_xdata()[0], path.get_ydata()[0])  # type: ignore[index]
    assert "from a ring after the first epoch to the star" in figure.note
    assert "ring" not in figures.prototype_map(run, colour="class").note


def test_next_to_roles_only_the_class_has_a_path_and_next_to_subjects_none_has_a_colour(
    make_run: Callable[..., Run],
) -> None:
    run = make_run(9)

    def colours(axes: Axes) -> list[Any]:
        paths = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]  # type: ignore[arg-type]
        return [line.get_color() for line in paths if line.get_color() != "white"]

    both = figures.prototype_map(run, paths=True).figure.axes
    assert [colours(axes) for axes in both] == [list(style.CLASS_COLOURS[:9]), ["black"]]
    assert both[0].get_xlim() == both[1].get_xlim()
    alone = figures.prototype_map(run, colour="kind", paths=True)
    assert colours(alone.figure.axes[0]) == ["black"]
    assert "how prototypes of 1 of 9 classes moved" in alone.note
    assert set(colours(figures.prototype_map(run, colour="subject", paths=True).figure.axes[0])) == {
        style.GREY
    }


def test_of_many_classes_only_the_coloured_ones_have_paths(make_run: Callable[..., Run]) -> None:
    run = make_run(**RUNS["52 classes"])
    names = run.classes.names[3:5]
    figure = figures.prototype_map(run, highlight=names[0], colour="class", chosen=names, paths=True)
    lines = [line for line in figure.figure.axes[0].get_lines() if line.get_color() != "white"]
    paths = [line for line in lines if len(line.get_xdata()) > 1]  # type: ignore[arg-type]
    assert [line.get_color() for line in paths] == list(style.CLASS_COLOURS[:2])
    assert "of 2 of 52 classes" in figure.note
    assert figure.data.loc[figure.data["epoch"].notna(), "class"].nunique() == 52


def test_refinement_maps_share_their_axes(make_run: Callable[..., Run]) -> None:
    before, after = make_run(9, prototypes=False), make_run(9, seed=1)
    figure = figures.refinement_maps(before, after, pathway="pose", venue="ieee")
    check(figure, VENUES["ieee"][1])
    left, right = figure.figure.axes
    assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())
    tables = dict(list(figure.data.groupby("panel", sort=False)))
    assert list(tables) == ["before refinement", "after refinement"]
    clips = [table.loc[table["kind"] == "clip", "clip_id"].tolist() for table in tables.values()]
    assert clips[0] == clips[1]
    assert (tables["after refinement"]["kind"] == "prototype").sum() == 9
    first, again = (figures.refinement_maps(before, after, pathway="pose") for _ in range(2))
    assert first.pdf() == again.pdf()
    with pytest.raises(MgkitError, match="class"):
        figures.refinement_maps(before, make_run(4))
