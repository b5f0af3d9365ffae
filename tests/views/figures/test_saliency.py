"""Figures of saliency: joints by class, and film strips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.run.saliency import Saliency, write_saliency
from mgkit.views import figures
from mgkit.views.analysis import ambiguous, joint_importance
from mgkit.views.figures.saliency import glow, scaled
from mgkit.views.figures.style import VENUES
from tests.results.fake_run import fake_clips, fake_run
from tests.results.run.test_saliency import made
from tests.views.figures.test_figures import check

pytestmark = pytest.mark.usefixtures("flat")


def explained(run: Run, **changes: Any) -> Saliency:
    saliency = made(run.predictions().clip_ids, **changes)
    write_saliency(run.root, "test", saliency)
    return saliency


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fake_run(tmp_path / "run", fake_clips(tmp_path / "clips", 5, 6), epochs=2, splits=("test",))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 52])
def test_the_figure_of_joints(make_run: Callable[..., Run], classes: int) -> None:
    run = make_run(classes, 8, epochs=3)
    rng = np.random.default_rng(0)
    explained(run, target=rng.integers(0, classes, len(run.predictions())))
    figure = figures.joint_importance(run)
    check(figure, VENUES["cvpr"][0])
    table = joint_importance(run)
    assert len(figure.data) == 17 * classes
    np.testing.assert_allclose(figure.data["share"], table.to_numpy().ravel())
    counts = figure.data.groupby("class", sort=False)["clips"].first()
    assert counts.sum() == len(run.predictions())
    assert figure.note == f"{len(run.predictions())} clips of test, explained for their true class"
    assert figure.pdf() == figures.joint_importance(run).pdf(), "byte-identical on rerun"
    check(figures.joint_importance(run, venue="ieee", columns=2), VENUES["ieee"][1])


def test_colours_get_lighter_all_the_way() -> None:
    rgb = glow()(np.linspace(0, 1, 256))[:, :3]
    luminance = rgb @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all(), "readable in grey"
    values = scaled(np.array([[-3.0, 0.0, 1.0, 4.0]], np.float32))
    assert values[0, :2].tolist() == [0, 0]
    assert values.max() == 1
    assert 0.2 < values[0, 2] < 0.3
    assert not scaled(np.full((2, 2), -1, np.float32)).any()


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("kind", ["both", "pose", "rgb"])
def test_film_strips_with_saliency(
    tmp_path: Path, frames: list[tuple[Path, list[int]]], kind: str, columns: int
) -> None:
    clips = fake_clips(tmp_path / "clips", 3, 4, video=True)
    clip_id = clips.ids[0]
    without: dict[str, Any] = {
        "pose": {"maps": None, "rgb_frames": None}, "rgb": {"joints": None, "pose_frames": None}, "both": {},
    }[kind]  # fmt: skip
    saliency = made(clips.ids, **without)
    figure = figures.film_strip(clips, clip_id, 2, saliency=saliency, columns=columns)
    check(figure, VENUES["cvpr"][columns - 1])
    sampled = [0, 9] if kind == "pose" else [3, 9]
    assert figure.data["frame"].tolist() == sampled == frames[0][1], "sampled frames are shown"
    one = saliency.clip(clip_id)
    picture = figure.figure.axes[0]
    if kind != "pose":
        assert one.maps is not None
        np.testing.assert_allclose(figure.data["saliency_rgb"], one.maps.sum((1, 2)), rtol=1e-4)
        written = np.array([[float(v) for v in row.split()] for row in figure.data["map"]])
        np.testing.assert_allclose(written, one.maps.reshape(2, -1), rtol=1e-3)
        assert len(picture.images) == 2, "the picture and the veil"
        assert picture.images[1].get_extent() == picture.images[0].get_extent()
        veil = picture.images[1].get_array()
        np.testing.assert_allclose(veil[..., 3], 0.62 * scaled(one.maps)[0], atol=1e-6)
    if kind != "rgb":
        assert one.joints is not None
        row = 0 if kind == "pose" else 1
        for v, joint in enumerate(clips.skeleton.joints):
            assert figure.data[f"saliency_{joint}"][0] == pytest.approx(float(one.joints[row, v]))
        discs = picture.collections[-1]
        seen = np.isfinite(clips.pose(clip_id)[0, sampled[0], :, 0])
        strong = scaled(one.joints)[row] > 0.02
        assert len(discs.get_offsets()) == (seen & strong).sum()
        sizes = discs.get_sizes()
        assert (np.diff(sizes) >= 0).all(), "the strongest is on top"
    assert (picture.get_xlim(), picture.get_ylim()) == ((0, 160), (200, 0))
    assert clips.classes.names[one.target] in figure.note
    assert figure.pdf() == figures.film_strip(clips, clip_id, 2, saliency=saliency, columns=columns).pdf()
    with pytest.raises(MgkitError, match="no clip"):
        figures.film_strip(clips, clip_id, saliency=made(["x"]))
    with pytest.raises(MgkitError, match="another clip"):
        figures.film_strip(
            clips,
            clip_id,
            saliency=made([clip_id], pose_frames=np.array([[0, 3, 5, 900]]), rgb_frames=np.array([[3, 900]])),
        )


@pytest.mark.slow
def test_all_figures_of_an_explained_run(run: Run) -> None:
    ids = run.predictions().clip_ids
    hard = ambiguous(run)["clip_id"].tolist()[:3]
    write_saliency(run.root, "test", made([i for i in ids if i != hard[1]]))
    stems = {path.stem for path in figures.draw_figures(run)}
    assert {"joint_importance", "ambiguous_1", "ambiguous_2"} <= stems
    columns = [pd.read_csv(run.figures / f"ambiguous_{n}.csv").columns for n in (1, 2)]
    assert "saliency_nose" in columns[0]
    assert "saliency_nose" not in columns[1], "a clip that was not explained is drawn without"
