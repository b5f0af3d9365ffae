from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from mgkit.data.readers import load_classes
from mgkit.errors import MgkitError
from mgkit.results.compare.methods import MAJORITY, method_table, modality_of
from mgkit.results.run.cost import Cost, write_cost
from mgkit.results.run.folder import Run, load_run
from mgkit.results.scores.scores import import_scores
from mgkit.results.stats.metrics import evaluate
from mgkit.results.stats.resampling import accuracy_measures, intervals
from mgkit.results.stats.significance import seeds_apart, subject_interval
from tests.results.compare.test_runs import changed, scores
from tests.results.fake_run import fake_clips, fake_run

DRAWS = 200


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("methods")
    clips = fake_clips(root / "clips", 4, 12)
    return [
        fake_run(root / f"run{i}", clips, epochs=1 + i, splits=("test",), seed=i, noise=2 + 0.6 * i)
        for i in range(4)
    ]


@pytest.mark.slow
def test_numbers_are_those_of_the_parts(runs: list[Run]) -> None:
    table = method_table(runs, draws=DRAWS)
    assert table.index.tolist() == ["run0", "run1", "run2", "run3", MAJORITY]
    subjects = dict(zip(*(runs[0].clips().table[name] for name in ("clip_id", "subject")), strict=True))
    base = table["top1"].iloc[:4].idxmax()
    best = next(run for run in runs if run.name == base).predictions()
    for run in runs:
        row, mine = table.loc[run.name], run.predictions().select(best.clip_ids)
        for name in ("top1", "macro_f1", "mean_class_accuracy"):
            assert row[name] == pytest.approx(evaluate(run).loc["fused", name])
        people = [subjects[clip_id] for clip_id in run.predictions().clip_ids]
        measures = accuracy_measures(run.predictions().labels, run.predictions().predicted(), 4)
        bounds = intervals(list(measures.values()), people, np.random.default_rng(0), DRAWS)
        for name, bound in zip(measures, bounds, strict=True):
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(tuple(bound))
        assert (row["interval_over"], row["clips"], row["seeds"]) == ("9 subjects", len(mine), 1)
        assert (row["modality"], row["source"], row["tested_on"]) == (
            "RGB & Skeleton (J)", "tested here", "other data",
        )  # fmt: skip
        if run.name == base:
            assert pd.isna(row["p"])
            continue
        a, b = mine.correct(), best.correct()
        counts = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
        assert (row["fixed"], row["broken"]) == (counts[0][1], counts[1][0])
        assert row["p"] == pytest.approx(mcnemar(counts, exact=True).pvalue)
        assert row["test"] == "McNemar exact"
        people = [subjects[clip_id] for clip_id in best.clip_ids]
        gain = subject_interval(a, b, people, np.random.default_rng(0), draws=DRAWS)
        assert (row["gain"], row["gain_low"], row["gain_high"]) == pytest.approx(
            (gain.mean, gain.low, gain.high)
        )
    known = table["p"].dropna()
    assert table.loc[known.index, "p_holm"].tolist() == pytest.approx(multipletests(known, method="holm")[1])
    constant = evaluate(runs[0]).loc["majority"]
    assert table.loc[MAJORITY, "top1"] == constant["top1"]
    assert table.loc[MAJORITY, "macro_f1"] == pytest.approx(constant["macro_f1"])
    assert (table.loc[MAJORITY, "source"], table.loc[MAJORITY, "modality"]) == ("constant", "-")
    assert pd.isna(table.loc[MAJORITY, "p"])
    pd.testing.assert_frame_equal(table, method_table([run.root for run in runs], draws=DRAWS))


@pytest.mark.slow
def test_the_baseline_can_be_named(runs: list[Run]) -> None:
    for baseline in ("second", "run1", runs[1], runs[1].root):
        table = method_table(runs[:2], names=["first", "second"], baseline=baseline, draws=50)
        assert table.index.tolist() == ["first", "second", MAJORITY]
        assert pd.isna(table.loc["second", "gain"])
        assert not pd.isna(table.loc["first", "gain"])
    with pytest.raises(MgkitError, match="not one of the runs"):
        method_table(runs, baseline="elsewhere")


@pytest.mark.slow
def test_seeds_of_one_recipe_are_one_method(runs: list[Run], tmp_path: Path) -> None:
    ours = [changed(runs[i], tmp_path / f"s{i}" / "ours", {"epochs": 3}, seed=i) for i in range(2)]
    theirs = [changed(runs[i], tmp_path / f"s{i}" / "theirs", {"epochs": 4}, seed=i) for i in (2, 3)]
    table = method_table([*ours, *theirs], clips=runs[0].clips(), draws=DRAWS)
    assert table.index.tolist() == ["ours", "theirs", MAJORITY]
    each = {run.root: evaluate(run).loc["fused"] for run in (*ours, *theirs)}
    for name, group in (("ours", ours), ("theirs", theirs)):
        for metric in ("top1", "macro_f1", "mean_class_accuracy"):
            values = [each[run.root][metric] for run in group]
            assert table.loc[name, metric] == pytest.approx(np.mean(values))
            assert table.loc[name, f"{metric}_spread"] == pytest.approx(np.std(values, ddof=1))
    other = table["p"].first_valid_index()
    assert table.loc[other, "test"] == "9 subjects and seeds"
    tops = [[each[run.root]["top1"] for run in group] for group in (ours, theirs)]
    assert table.loc[other, "p"] >= seeds_apart(*tops), "never surer than the seeds allow"
    assert pd.isna(table.loc[other, "fixed"])
    renamed = [changed(runs[i], tmp_path / f"seed-{i}", {"epochs": 3}, seed=i) for i in range(3)]
    assert method_table(renamed, draws=20).index[0] == "seed-0 and 2 more"
    # the same rows by giving names, in any order
    named = method_table(
        [theirs[0], ours[0], theirs[1], ours[1]],
        names=["B", "A", "B", "A"],
        clips=runs[0].clips(),
        draws=DRAWS,
    )
    assert named.index.tolist() == ["B", "A", MAJORITY]
    assert named.loc["A", "top1"] == pytest.approx(table.loc["ours", "top1"])
    with pytest.raises(MgkitError, match="differ in more than the seed"):
        method_table([*ours, *theirs], names=["A"] * 4)
    apart = method_table([*ours, *theirs], names=["A1", "A2", "B", "B"], clips=runs[0].clips(), draws=50)
    assert apart["seeds"].dropna().tolist() == [1, 1, 2]


@pytest.mark.slow
def test_scores_from_elsewhere_are_grouped_by_name(tmp_path: Path) -> None:
    ids = [f"c{i}" for i in range(6)]
    given = [scores(tmp_path / name, ids, [0, 1, 0, 1, 0, 1]) for name in ("a", "b", "c")]
    table = method_table(given, names={"a": "ensemble", "b": "ensemble"}, draws=50)
    assert table.index.tolist() == ["ensemble", "c"]
    assert table["seeds"].tolist() == [2, 1]
    assert table["interval_over"].tolist() == ["6 clips", "6 clips"]
    assert table["modality"].tolist() == ["-", "-"]
    assert method_table(given, modality={"a": "RGB"}, draws=50).loc["a", "modality"] == "RGB"
    named = method_table(given, names=["x", "x", "y"], modality={"x": "RGB & Skeleton"}, draws=50)
    assert named["modality"].tolist() == ["RGB & Skeleton", "-"]
    with pytest.raises(MgkitError, match="different modalities"):
        method_table(given, names=["x"] * 3, modality=["RGB", "RGB", "Skeleton"], draws=50)


def test_costs_are_read_where_they_were_measured(runs: list[Run], tmp_path: Path) -> None:
    one, two = (changed(runs[i], tmp_path / f"c{i}", {"epochs": 9 + i}) for i in range(2))
    cost = Cost(
        1000,
        2000,
        {"pose": [3]},
        clips_per_second=8.5,
        batch_size=4,
        device="cpu",
        threads=2,
        precision="32-true",
    )
    write_cost(one.root, cost)
    table = method_table([one, two], clips=runs[0].clips(), draws=50)
    row = table.loc["c0"]
    assert (row["parameters"], row["flops"], row["clips_per_second"]) == (1000, 2000, 8.5)
    assert row["measured_on"] == "cpu, 2 threads, batch 4, 32-true"
    assert table.loc["c1", ["parameters", "flops", "clips_per_second", "measured_on"]].isna().all()
    write_cost(two.root, Cost(5, 5, {}))
    (tmp_path / "s").mkdir()
    path = two.root / "config.json"
    config = json.loads(path.read_text())
    config["recipe"]["epochs"], config["recipe"]["seed"] = 9, 1
    path.write_text(json.dumps(config))
    with pytest.raises(MgkitError, match="different size"):
        method_table([one, load_run(two.root)], clips=runs[0].clips(), draws=50)


@pytest.mark.slow
def test_published_numbers_stand_below_and_say_so(runs: list[Run], tmp_path: Path) -> None:
    table = method_table(runs[:2], published=True, draws=50)
    below = table[table["source"] == "published"]
    assert table.index[: len(table) - len(below)].tolist() == ["run0", "run1", MAJORITY]
    assert all(name.endswith("(published)") for name in below.index)
    assert below.loc["PoseConv3D (published)", "top1"] == pytest.approx(0.6111)
    assert below["p"].isna().all()
    assert below["seeds"].isna().all()
    assert set(below["tested_on"]) == {"iMiGUE test"}
    assert set(table.iloc[:2]["tested_on"]) == {"other data"}
    # 70.254 % of 4,562 is [68.9, 71.6]
    first = below[below["top1"].between(0.70253, 0.70255)].iloc[0]
    assert (round(first["top1_low"], 3), round(first["top1_high"], 3)) == (0.689, 0.716)
    with pytest.raises(MgkitError, match="lacks modality"):
        method_table(runs[:2], published=pd.DataFrame({"top1": [0.5], "clips": [3]}, index=["x"]), draws=50)

    imigue = load_classes("imigue", None)
    labels = np.arange(4562) % 32
    whole = import_scores(
        tmp_path / "whole", clip_ids=[f"{i // 40:04d}_{i % 40}" for i in range(4562)], labels=labels,
        probabilities=np.eye(32)[labels], classes=imigue, name="whole",
    )  # fmt: skip
    assert method_table([whole], draws=20)["tested_on"].tolist() == ["iMiGUE test"]
    part = import_scores(
        tmp_path / "part", clip_ids=["0001_0", "0001_1"], labels=[0, 1], probabilities=np.eye(32)[:2], classes=imigue,
        name="part",
    )  # fmt: skip
    assert method_table([part], draws=20)["tested_on"].tolist() == ["other data"]


@pytest.mark.parametrize(
    ("pathways", "recipe", "said"),
    [
        (["rgb"], {}, "RGB"),
        (["pose"], {"inputs": {"heatmap": "joint"}}, "Skeleton (J)"),
        (["pose"], {"inputs": {"heatmap": "limb"}}, "Skeleton (L)"),
        (["rgb", "pose"], {"inputs": {"heatmap": "limb"}}, "RGB & Skeleton (L)"),
        (["pose"], {"inputs": {"stream": "bone-motion"}}, "Skeleton (BM)"),
        (["pose"], {"inputs": {"stream": "joint-motion"}}, "Skeleton (JM)"),
        (["pose"], {"imported": True}, "Skeleton"),
        ([], {"imported": True}, "-"),
    ],
)
def test_modality(pathways: list[str], recipe: dict[str, object], said: str, tmp_path: Path) -> None:
    assert modality_of(Run(tmp_path, {"pathways": pathways, "recipe": recipe})) == said


def test_runs_that_cannot_stand_in_one_table_are_named(runs: list[Run], tmp_path: Path) -> None:
    ids = [f"c{i}" for i in range(4)]
    base = scores(tmp_path / "base", ids, [0, 1, 0, 1])
    other = scores(tmp_path / "clips", ["c0", "c1", "c2", "x9"], [0, 1, 0, 1])
    with pytest.raises(MgkitError, match="base lacks 1 of 5"):
        method_table([base, other])
    with pytest.raises(MgkitError, match="give one or more"):
        method_table([])
    with pytest.raises(MgkitError, match="more than once"):
        method_table([base, base])
    with pytest.raises(MgkitError, match="names are 1 for 2 runs"):
        method_table(runs[:2], names=["only"])
    with pytest.raises(MgkitError, match="names is one text"):
        method_table(runs[:2], names="both")
    with pytest.raises(MgkitError, match="there is no run nobody"):
        method_table(runs[:2], names={"nobody": "x"})
    with pytest.raises(MgkitError, match="name of that row"):
        method_table(runs[:1], names=[MAJORITY])
