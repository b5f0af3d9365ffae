"""Training curves over seeds and settings: the numbers behind the bands, and what may not be averaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.stats.significance import seed_mean
from mgkit.views import figures
from mgkit.views.figures.style import VENUES
from mgkit.views.figures.training import over_seeds
from tests.results.fake_run import fake_clips, fake_run
from tests.views.figures.test_figures import check, texts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return fake_clips(tmp_path_factory.mktemp("seeds") / "clips", 3, 4)


def made(
    root: Path, clips: Clips, seeds: int, epochs: int = 6, first: int = 0, **changes: object
) -> list[Run]:
    return [
        fake_run(root / f"seed{s}", clips, epochs=epochs, seed=s, splits=(), **changes)  # type: ignore[arg-type]
        for s in range(first, first + seeds)
    ]


def test_mean_and_interval_against_a_slow_loop(tmp_path: Path, clips: Clips) -> None:
    runs = made(tmp_path, clips, 4)
    table = figures.training_curves(runs).data
    histories = [run.history().set_index("epoch") for run in runs]
    assert set(table["quantity"]) == {
        "loss", *(f"loss_{t}_{p}" for t in ("ce", "pr") for p in ("rgb", "pose")),
        *(f"{part}_top1_{o}" for part in ("train", "val") for o in ("rgb", "pose", "fused")),
    }  # fmt: skip
    for row in table.itertuples():
        expected = seed_mean([h.loc[row.epoch, row.quantity] for h in histories])
        assert (row.mean, row.low, row.high) == pytest.approx((expected.mean, expected.low, expected.high))
        assert row.n == 4


@pytest.mark.parametrize("columns", [1, 2])
def test_seeds_say_how_many_they_are(tmp_path: Path, clips: Clips, columns: int) -> None:
    figure = figures.training_curves(made(tmp_path, clips, 3), columns=columns)
    check(figure, VENUES["cvpr"][columns - 1])
    assert "95 % interval, n = 3" in [text.get_text() for text in texts(figure)]
    assert "n = 3 seeds with the 95 % t interval" in figure.note
    assert len(figure.figure.axes[1].collections) == 3, "a band each of the validation, none of the training"


def test_one_seed_is_drawn_as_the_run_alone(tmp_path: Path, clips: Clips) -> None:
    (run,) = made(tmp_path, clips, 1)
    assert figures.training_curves([run]).pdf() == figures.training_curves(run).pdf()
    assert figures.training_curves({"a": run}).pdf() == figures.training_curves(run).pdf()


def test_settings_beside_each_other(tmp_path: Path, clips: Clips) -> None:
    long = "late fusion with prototypes in both branches and every lateral connection that there is"
    both, pose = made(tmp_path / "a", clips, 3), made(tmp_path / "b", clips, 2, pathways=("pose",))
    given = {long: both, "pose alone": pose, "one": made(tmp_path / "c", clips, 1)[0]}
    for columns in (1, 2):
        figure = figures.training_curves(given, columns=columns)
        check(figure, VENUES["cvpr"][columns - 1])
        assert figure.pdf() == figures.training_curves(given, columns=columns).pdf()
    shown = {text.get_text() for text in texts(figure)}
    assert {"pose alone (Pose, n = 2)", "one (Fused, n = 1)", "validation accuracy (%)"} <= shown
    assert figure.data.groupby("setting")["n"].max().to_dict() == {long: 3, "pose alone": 2, "one": 1}
    assert figure.data[figure.data["setting"] == "one"][["low", "high"]].isna().all(axis=None)
    chosen = figures.training_curves(given, pathway="pose")
    assert "Pose validation accuracy (%)" in {text.get_text() for text in texts(chosen)}
    with pytest.raises(MgkitError, match="pose alone has no output 'rgb'"):
        figures.training_curves(given, pathway="rgb")
    with pytest.raises(MgkitError, match="cannot be distinguished"):
        figures.training_curves({str(i): both for i in range(11)})


def test_seeds_of_unequal_length_are_drawn_as_far_as_all_go(tmp_path: Path, clips: Clips) -> None:
    runs = made(tmp_path, clips, 2) + made(tmp_path, clips, 1, epochs=4, first=2)
    found = over_seeds(runs, "both")
    assert found.mean["loss"].notna().tolist() == [True] * 4 + [False] * 2
    assert found.n["loss"].tolist() == [3, 3, 3, 3, 2, 2]
    figure = figures.training_curves({"both": runs})
    assert "both: not all runs have the epochs 5 to 6" in figure.note
    assert "recipe.epochs" in figure.note
    check(figure, VENUES["cvpr"][1])


def test_an_interval_never_leaves_the_possible(tmp_path: Path, clips: Clips) -> None:
    runs = made(tmp_path, clips, 2)
    for run, top in zip(runs, (0.99, 0.6), strict=True):
        table = pd.read_csv(run.root / "history.csv")
        table["val_top1_fused"] = top
        table.to_csv(run.root / "history.csv", index=False)
    figure = figures.training_curves(runs)
    row = figure.data[figure.data["quantity"] == "val_top1_fused"].iloc[0]
    assert row["high"] > 1, "the t interval itself is not cut"
    low, high = figure.figure.axes[1].get_ylim()
    assert low >= 0
    assert high <= 100
    assert np.isfinite(row["low"])


def test_what_may_not_be_averaged(tmp_path: Path, clips: Clips) -> None:
    runs = made(tmp_path / "a", clips, 2)
    with pytest.raises(MgkitError, match="more than once"):
        figures.training_curves([runs[0], runs[0]])
    with pytest.raises(MgkitError, match="the same seed 0"):
        figures.training_curves([*runs, *made(tmp_path / "b", clips, 1)])
    with pytest.raises(MgkitError, match="not seeds of one setting"):
        figures.training_curves([*runs, *made(tmp_path / "c", clips, 1, first=5, pathways=("pose",))])
    for nothing in ([], {}, {"a": []}):
        with pytest.raises(MgkitError, match="got no runs"):
            figures.training_curves(nothing)
    with pytest.raises(MgkitError, match="for several settings"):
        figures.training_curves(runs, pathway="rgb")
    (runs[1].root / "history.csv").unlink()
    with pytest.raises(MgkitError, match="was not trained in epochs"):
        figures.training_curves(runs)


@pytest.mark.parametrize("columns", [1, 2])
def test_legends_are_below_the_panels_and_hide_no_curve(tmp_path: Path, clips: Clips, columns: int) -> None:
    runs = made(tmp_path, clips, 2)
    for one in (runs[0], runs):
        figure = figures.training_curves(one, columns=columns)
        check(figure, VENUES["cvpr"][columns - 1])
        for axes in figure.figure.axes:
            legend = axes.get_legend()
            assert legend is not None
            assert legend.get_window_extent().y1 < axes.get_window_extent().y0
            assert len(legend.get_texts()) >= 3
