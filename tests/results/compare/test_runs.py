from __future__ import annotations

import json
import shutil
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgkit.cli.options import results
from mgkit.data.clips import Classes
from mgkit.data.table import Rows
from mgkit.errors import MgkitError
from mgkit.results.compare.methods import method_table
from mgkit.results.compare.runs import compare_runs, differing_settings
from mgkit.results.run.folder import Run, load_run
from mgkit.results.scores.scores import import_scores
from mgkit.results.stats.metrics import evaluate, per_class, wilson
from mgkit.results.stats.significance import holm, paired, smallest_gain
from mgkit.studies import study_table
from mgkit.views import figures
from mgkit.views.figures.tables import table as paper_table
from tests.results.fake_run import fake_clips, fake_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("compare")
    clips = fake_clips(root / "clips", 4, 10)
    return [fake_run(root / f"run{i}", clips, epochs=1, splits=("test",), seed=i) for i in range(3)]


def changed(run: Run, root: Path, recipe: dict[str, object] | None = None, **settings: object) -> Run:
    """A copy of a run with other settings."""
    shutil.copytree(run.root, root)
    path = root / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["recipe"] |= recipe or {}
    config["settings"] |= settings
    path.write_text(json.dumps(config), encoding="utf-8")
    return load_run(root)


@pytest.mark.parametrize(("split", "said"), [("test1", "a test split"), ("latest", "perhaps a test split")])
def test_an_epoch_chosen_on_a_test_split_is_said_beside_every_result(
    runs: list[Run], tmp_path: Path, split: str, said: str
) -> None:
    chosen = changed(runs[0], tmp_path / "chosen", val_split=split)
    assert f"CAUTION: the epoch of chosen was chosen on '{split}', {said}" in repr(chosen)
    tables = (
        compare_runs([runs[1], chosen]),
        method_table([runs[1], chosen]),
        evaluate(chosen),
        study_table({"a": {0: runs[1]}, "b": {0: chosen}}, "test"),
    )
    for table in tables:
        assert said in figures.table(table).note, table.index.name
    assert said in results(chosen, "test")
    fixed = changed(chosen, tmp_path / "fixed", recipe={"optimisation": {"keep": "last", "patience": 0}})
    assert "CAUTION" not in repr(fixed)
    assert "Caution" not in figures.table(compare_runs(runs)).note


def scores(root: Path, ids: list[str], labels: list[int], names: tuple[str, ...] = ("a", "b")) -> Run:
    return import_scores(
        root, clip_ids=ids, labels=labels, probabilities={"fused": np.eye(len(names))[labels]},
        classes=Classes(names), name=root.name,
    )  # fmt: skip


def test_runs_with_and_without_a_background_class_are_compared_on_the_labelled_clips(tmp_path: Path) -> None:
    ids, labels = [f"c{i}" for i in range(6)], [0, 1, 0, 1, 2, 2]
    said = np.eye(3)[[0, 1, 1, 2, 2, 0]] * 0.6 + [
        [0.1, 0.2, 0.1]
    ]  # c3 is taken for background, second is class 1
    with_it = import_scores(
        tmp_path / "with", clip_ids=ids, labels=labels, probabilities={"fused": said / said.sum(1, keepdims=True)},
        classes=Classes(("a", "b", "nothing"), background=2), name="with",
    )  # fmt: skip
    without = import_scores(
        tmp_path / "other", clip_ids=ids[:4], labels=labels[:4],
        probabilities={"fused": np.eye(2)[[0, 1, 0, 0]]}, classes=Classes(("a", "b")), name="without",
    )  # fmt: skip
    with pytest.raises(MgkitError, match="different classes"):
        compare_runs([with_it, without])
    table = compare_runs([with_it, without], background=False)
    assert table["top1"].tolist() == [0.75, 0.75]
    assert table["clips"].tolist() == [4, 4]
    assert (table.loc["without", "fixed"], table.loc["without", "broken"]) == (1, 1)
    assert table.attrs["note"] == "on the labelled clips, as if there were no nothing"
    methods = method_table([with_it, without], background=False)
    assert methods["top1"].dropna().tolist()[:2] == [0.75, 0.75]


def by_hand(fixed: int, broken: int) -> tuple[float, float]:
    """Exact and mid-p by adding up the binomial."""
    n, least = fixed + broken, min(fixed, broken)
    below = sum(comb(n, k) for k in range(least + 1)) / 2**n
    return min(1.0, 2 * below), 2 * below - comb(n, least) / 2**n


@pytest.mark.parametrize("fixed, broken", [(5, 1), (0, 6), (4, 4), (1, 0), (12, 3)])
def test_mcnemar_by_hand(fixed: int, broken: int) -> None:
    ours = [True] * fixed + [False] * broken + [True] * 3 + [False] * 2
    theirs = [False] * fixed + [True] * broken + [True] * 3 + [False] * 2
    found = paired(ours, theirs)
    assert (found.right, found.fixed, found.broken, found.wrong) == (3, fixed, broken, 2)
    assert (found.p_exact, found.p_mid) == pytest.approx(by_hand(fixed, broken))
    assert found.clips == len(ours)


def test_equal_runs_are_no_evidence_and_odd_shapes_are_refused() -> None:
    assert (paired([True], [True]).p_exact, paired([False], [False]).p_mid) == (1, 1)
    with pytest.raises(MgkitError, match="for the same clips"):
        paired([True], [True, False])


def test_the_table_joins_by_clip_id(runs: list[Run]) -> None:
    table = compare_runs(runs)
    assert table.index.tolist() == ["run0", "run1", "run2"]
    first = runs[0].predictions().correct()
    right = dict(zip(runs[0].predictions().clip_ids, first, strict=True))
    for run in runs[1:]:
        row, theirs = table.loc[run.name], run.predictions()
        pairs = [(hit, right[i]) for i, hit in zip(theirs.clip_ids, theirs.correct(), strict=True)]
        assert row["fixed"] == sum(a and not b for a, b in pairs)
        assert row["broken"] == sum(b and not a for a, b in pairs)
        assert row["top1"] == evaluate(run).loc["fused", "top1"]
        assert row["gain"] == pytest.approx((row["fixed"] - row["broken"]) / row["clips"])
        assert row["p"] == pytest.approx(by_hand(int(row["fixed"]), int(row["broken"]))[1])
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        assert row["interval_over"] == "9 subjects"
    assert table["p_holm"].tolist()[1:] == pytest.approx(holm(table["p"].tolist()[1:]))
    assert pd.isna(table.loc["run0", "gain"])
    pd.testing.assert_frame_equal(table, compare_runs([str(run.root) for run in runs]))
    other = compare_runs(runs, baseline="run1", output="rgb")
    assert pd.isna(other.loc["run1", "gain"])
    assert other.loc["run0", "output"] == "rgb"


def test_only_settings_that_differ_are_shown(runs: list[Run], tmp_path: Path) -> None:
    part = {"part": "x:net", "settings": {}}

    def recipe(epochs: int, *stages: int) -> dict[str, object]:
        one = {"network": part, "inputs": {"reads": ["frames"]}, "optimisation": {"epochs": epochs}}
        return {**one, "stages": [{**one, "optimisation": {"epochs": of_stage}} for of_stage in stages]}

    a = changed(runs[0], tmp_path / "a", recipe(1, 5), seed=0)
    b = changed(runs[1], tmp_path / "b", recipe(9, 7), seed=1)
    assert differing_settings([a, b]) == [
        {"recipe.epochs": "1", "recipe.stages.rgb.epochs": "5"},
        {"recipe.epochs": "9", "recipe.stages.rgb.epochs": "7"},
    ]
    c = changed(runs[2], tmp_path / "c", recipe(1), seed=2)
    assert differing_settings([a, c]) == [{"recipe.stages": "rgb"}, {"recipe.stages": "none"}]
    table = compare_runs([a, b])
    assert table["seeds"].tolist() == ["0", "1"]
    assert "recipe.learning_rate" not in table


def test_seeds_are_grouped(runs: list[Run], tmp_path: Path) -> None:
    ours = [changed(runs[i], tmp_path / f"seed{i}" / "ours", seed=i) for i in range(2)]
    theirs = [changed(runs[2 - i], tmp_path / f"seed{i}" / "theirs", {"epochs": 4}, seed=i) for i in range(2)]
    table = compare_runs([*ours, *theirs], group_seeds=True)
    assert table.index.tolist() == ["ours", "theirs"]
    assert table["seeds"].tolist() == ["0, 1", "0, 1"]
    each = [evaluate(run).loc["fused", "top1"] for run in ours]
    assert table.loc["ours", "top1"] == pytest.approx(np.mean(each))
    assert table.loc["ours", "top1_spread"] == pytest.approx(np.std(each, ddof=1))
    assert table.loc["theirs", "test"] == "t over seeds"
    uneven = compare_runs([*ours, theirs[0]], group_seeds=True, clips=runs[0].clips())
    assert uneven["test"].tolist()[1] == "bootstrap over 9 subjects"
    twice = changed(runs[2], tmp_path / "again", seed=0)
    with pytest.raises(MgkitError, match="same settings and seeds"):
        compare_runs([*ours, twice], group_seeds=True)


def test_runs_that_cannot_be_compared_are_named(runs: list[Run], tmp_path: Path) -> None:
    ids = [f"c{i}" for i in range(4)]
    base = scores(tmp_path / "base", ids, [0, 1, 0, 1])
    for other, message in (
        (
            scores(tmp_path / "clips", ["c0", "c1", "c2", "x9"], [0, 1, 0, 1]),
            r"base lacks 1 of 5 \(x9\); .*clips lacks 1 of 5 \(c3\)\. .*=True to use the 3",
        ),
        (scores(tmp_path / "labels", ids, [0, 1, 1, 1]), "true class of c2"),
        (
            scores(tmp_path / "classes", ids, [0, 1, 0, 1], ("a", "z")),
            r"different classes \(only one has b, z\)",
        ),
    ):
        with pytest.raises(MgkitError, match=message):
            compare_runs([base, other])
    with pytest.raises(MgkitError, match="give two or more"):
        compare_runs([base])
    with pytest.raises(MgkitError, match="more than once"):
        compare_runs([base, base])
    with pytest.raises(MgkitError, match="not one of the runs"):
        compare_runs(runs, baseline="elsewhere")


def test_different_clips_are_compared_on_those_that_all_have(runs: list[Run], tmp_path: Path) -> None:
    ids = [f"c{i}" for i in range(5)]
    one = scores(tmp_path / "one", ids, [0, 1, 0, 1, 1])
    two = scores(tmp_path / "two", ["x", *ids[:4]], [1, 0, 1, 0, 1])
    table = compare_runs([one, two], common=True)
    assert table["clips"].tolist() == [4, 4]
    assert table["left_out"].tolist() == ["1", "1"]
    assert table.attrs["note"].startswith("on the 4 clips that all have (left out: 1 of")
    methods = method_table([one, two], common=True, draws=20)
    assert methods["clips"].tolist() == [4, 4]
    assert "Numbers are on the 4 clips that all have" in figures.table(methods).note
    assert "Numbers are on the 4 clips that all have" in figures.table(table).note
    same = compare_runs(runs, common=True)
    assert "left_out" not in same
    assert same.attrs["note"] == ""


def test_without_subjects_the_interval_says_so(tmp_path: Path) -> None:
    ids = [f"c{i}" for i in range(4)]
    one, other = (scores(tmp_path / name, ids, [0, 1, 0, 1]) for name in ("a", "b"))
    table = compare_runs([one, other])
    assert table["interval_over"].tolist()[1] == "4 clips"
    assert table["p"].tolist()[1] == 1
    assert table[["gain_low", "gain_high"]].isna().all(axis=None), "four clips bear no interval"


def test_one_run_or_a_path_is_no_list(runs: list[Run]) -> None:
    for one in (runs[0], runs[0].root, str(runs[0].root)):
        with pytest.raises(MgkitError, match="runs must be a list"):
            compare_runs(one)  # type: ignore[arg-type]


def test_three_subjects_bear_no_interval_and_are_counted(tmp_path: Path) -> None:
    clips = fake_clips(tmp_path / "clips", 4, 20)
    few = replace(clips, rows=Rows(clips.table.assign(subject=[f"p{i % 3}" for i in range(len(clips))])))
    runs = [fake_run(tmp_path / f"run{s}", clips, epochs=1, splits=("test",), seed=s) for s in range(2)]
    table = compare_runs(runs, clips=few)
    assert table["interval_over"].tolist()[1] == "3 subjects"
    assert table[["gain_low", "gain_high"]].isna().all(axis=None)
    printed = paper_table(table)
    assert "without an interval, as there are only 3 subjects" in printed.note
    gain = printed.rows[1][printed.header.index("Gain (points)")]
    assert "[" not in gain
    assert float(gain)
    many = paper_table(compare_runs(runs))
    assert "95 % interval from resampling 9 subjects" in many.note
    methods = paper_table(method_table(runs, clips=few, draws=20))
    assert "No intervals: 3 subjects are too few to resample." in methods.note
    assert not any("[" in text for text in methods.small.values())


def test_results_come_first_and_every_column_is_printed(runs: list[Run], tmp_path: Path) -> None:
    long = {f"setting_{k}": list(range(40)) for k in range(20)}
    a = changed(runs[0], tmp_path / "a", long)
    b = changed(runs[1], tmp_path / "b", {name: [1] for name in long})
    table = compare_runs([a, b])
    names = list(table.columns)
    first = next(i for i, name in enumerate(names) if name.startswith("recipe."))
    assert all(name.startswith(("recipe.", "settings.", "test.")) for name in names[first:])
    assert {"top1", "gain", "p_holm"} <= set(names[:first])
    shown = str(table)
    assert all(name in shown for name in names)
    for found in (evaluate(a), per_class(a)):
        assert all(name in str(found) for name in found.columns), "intervals too"
        assert max(map(len, str(found).splitlines())) <= 82
    assert type(table[["top1"]]) is pd.DataFrame

    # Folded to the width, with the settings below, side by side.
    printed = paper_table(table)
    text = printed.text(90)
    assert max(map(len, text.splitlines())) <= 90
    head, *_, last = (block.splitlines()[0] for block in text.split("\n\n"))
    assert head.startswith("Run")
    assert last.split() == ["Setting", "a", "b"]
    assert printed.markdown().index("Top-1") < printed.markdown().index("setting 3")
    assert printed.latex().count("tabular}{") == 2
    assert "setting 3" in printed._repr_html_()
    assert "recipe.setting_3" in printed.csv()


def test_runs_that_were_not_tested_alike_are_named(runs: list[Run], tmp_path: Path) -> None:
    a, b = changed(runs[0], tmp_path / "a"), changed(runs[1], tmp_path / "b")
    for run, views in ((a, 1), (b, 10)):
        (run.root / "splits" / "test" / "test.json").write_text(
            json.dumps({"views": views, "flip": views > 1})
        )
    said = "Not tested alike: a with 1 view; b with 10 views and their mirror images"
    assert compare_runs([a, b]).attrs["tested"] == said
    assert said in paper_table(compare_runs([a, b])).note
    assert said in figures.run_comparison(a, b).note
    assert said[1:] in figures.confusion(a, other=b).note
    assert compare_runs([a, changed(a, tmp_path / "c", seed=5)]).attrs["tested"] == ""
    assert "tested alike" not in figures.run_comparison(runs[0], runs[1]).note


def test_a_study_says_what_so_few_clips_can_show(runs: list[Run]) -> None:
    table = study_table({"a": {0: runs[0], 1: runs[1]}, "b": {0: runs[1], 1: runs[2]}}, "test")
    count = len(runs[0].predictions("test"))
    assert (table["clips"] == count).all()
    hits = [[runs[i].predictions("test").correct() for i in pair] for pair in ((0, 1), (1, 2))]
    low, high = wilson(np.mean(hits[1]) * count, count)
    assert table.loc["b", ["clips_low", "clips_high"]].tolist() == pytest.approx([low, high])
    apart = np.mean([x != y for x, y in zip(*hits, strict=True)])
    assert table.loc["b", "smallest_gain"] == pytest.approx(smallest_gain(apart, count), nan_ok=True)
    assert np.isnan(table.loc["a", "smallest_gain"])
    printed = paper_table(table.assign(smallest_gain=[np.nan, 0.123]))
    shown = printed.rows[1][printed.header.index(f"{count} clips show")]
    assert shown == f"[{100 * low:.1f}, {100 * high:.1f}]"
    assert "one seed shows a gain from about 12.3 points on" in printed.note
    assert "one seed shows" not in paper_table(table.assign(smallest_gain=np.nan)).note
