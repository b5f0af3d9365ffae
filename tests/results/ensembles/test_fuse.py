"""Late fusion: by clip id whatever the order, refused by name where members do not fit, and a run like any other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.compare.runs import compare_runs
from mgkit.results.ensembles.fuse import ensemble, fit_temperatures, fuse
from mgkit.results.ensembles.members import gather, weights_of
from mgkit.results.run.folder import Run, load_run
from mgkit.results.scores import files
from mgkit.results.scores.calibration import Temperature, temper
from mgkit.results.scores.scores import Scores
from mgkit.results.stats.metrics import evaluate
from tests.results.fake_run import fake_clips, fake_run

NAMES = ("a", "b", "c")


def system(seed: int, name: str = "", clips: int = 12, skill: float = 1.0) -> Scores:
    """Scores of a system on the same clips, each in an order of its own."""
    labels = np.random.default_rng(99).integers(0, 3, clips)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(clips, 3)) + skill * np.eye(3)[labels]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = Scores(
        [f"c{i}" for i in range(clips)],
        p,
        labels,
        Classes(NAMES),
        name=name or f"s{seed}",
    )
    return scores.select([scores.clip_ids[i] for i in rng.permutation(clips)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("ensemble")
    clips = fake_clips(root / "clips", 5, 12)
    return [fake_run(root / f"run{i}", clips, epochs=1, seed=i) for i in range(3)]


def test_the_weighted_mean_by_a_slow_loop() -> None:
    members = [system(0), system(1), system(2)]
    found = ensemble(members, weights=[2, 1, 0])
    assert found.weights.tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    for clip_id in found.scores.clip_ids:
        for k in range(3):
            each = [m.probabilities[m.clip_ids.index(clip_id), k] for m in members]
            expected = (2 * each[0] + each[1]) / 3
            assert found.scores.select([clip_id]).probabilities[0, k] == pytest.approx(expected, rel=1e-6)
    one = ensemble({"x": members[0], "y": members[1]}, weights={"y": 1, "x": 3})
    assert one.weights.tolist() == [0.75, 0.25]
    assert "x 0.75, y 0.25" in repr(one)
    assert (
        one.member("y").select(members[1].clip_ids).probabilities.tolist()
        == members[1].probabilities.tolist()
    )
    with pytest.raises(MgkitError, match="no member 'z'"):
        one.member("z")


def test_the_order_of_clips_does_not_matter() -> None:
    members = [system(0), system(1)]
    one = ensemble(members).scores
    turned = ensemble([m.select(sorted(m.clip_ids)) for m in members]).scores
    np.testing.assert_array_equal(one.select(turned.clip_ids).probabilities, turned.probabilities)


def test_one_member_and_one_clip_and_one_class() -> None:
    lone = system(0)
    np.testing.assert_array_equal(ensemble([lone]).scores.probabilities, lone.probabilities)
    assert len(ensemble([system(0, clips=1), system(1, clips=1)]).table()) == 3
    flat = Scores(["x", "y"], np.ones((2, 1)), [0, 0])  # type: ignore[arg-type]
    table = ensemble([flat, replace(flat, name="other")]).table()
    assert table["top1"].tolist() == [1, 1, 1]
    assert table["log_loss"].tolist() == [0, 0, 0]


def test_fifty_members() -> None:
    found = ensemble([system(i) for i in range(50)])
    assert found.scores.probabilities == pytest.approx(found.members.probabilities.mean(0), rel=1e-5)


def lacking(members: list[Scores]) -> list[Scores]:
    return [members[0], members[1].select([c for c in members[1].clip_ids if c not in ("c3", "c7")])]


def more(members: list[Scores]) -> list[Scores]:
    m = members[1]
    p = np.concatenate([m.probabilities, [[1, 0, 0]]])
    return [members[0], Scores([*m.clip_ids, "new"], p, np.append(m.truth(), 0), name="s1")]


def mislabelled(members: list[Scores]) -> list[Scores]:
    labels = members[1].truth().copy()
    labels[0] = (labels[0] + 1) % 3
    return [members[0], replace(members[1], labels=labels)]


def reclassed(members: list[Scores]) -> list[Scores]:
    return [members[0], replace(members[1], classes=Classes(("a", "c", "b")))]


def renamed(members: list[Scores]) -> list[Scores]:
    return [members[0], replace(members[1], classes=Classes(("a", "b", "d")))]


def wider(members: list[Scores]) -> list[Scores]:
    p = np.pad(members[1].probabilities, ((0, 0), (0, 1)))
    return [members[0], replace(members[1], probabilities=p, classes=None)]


def elsewhere(members: list[Scores]) -> list[Scores]:
    return [members[0], replace(members[1], split="val")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lacking, r"different clips: s1 lacks 2 of 12 \(c3, c7\)\. .*common=True to use the 10"),
        (more, r"different clips: s0 lacks 1 of 13 \(new\)\."),
        (mislabelled, r"s0 and s1 disagree on the true class of c\d+ \(\d and \d\)"),
        (reclassed, "s0 and s1 have different classes .*in another order: class 1 is 'b' and 'c'"),
        (renamed, r"s0 and s1 have different classes \(only one has c, d\)"),
        (wider, "s0 is over 3 classes, s1 over 4"),
        (elsewhere, "scores of s1 are of the split 'val', not of 'test'"),
        (lambda m: [], "no members"),
        (lambda m: m[0], "must be a list"),
        (lambda m: [m[0], m[0]], r"s0 \(1\), s0 \(2\) are the same member"),
        (lambda m: {"ensemble": m[0], "b": m[1]}, "named 'ensemble'"),
        (lambda m: ["nowhere"], "no run folder nowhere"),
    ],
)
def test_members_that_do_not_fit_are_named(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        ensemble(change([system(0), system(1)]))


def test_members_over_different_clips_are_fused_on_those_that_all_have() -> None:
    members = more(lacking([system(0), system(1)]))
    found = ensemble(members, common=True)
    assert len(found.scores) == 10
    assert found.members.note == "on the 10 clips that all have (left out: 2 of s0, 1 of s1)"
    assert found.members.note in repr(found)
    assert found.table().attrs["note"] == found.members.note


def test_the_same_member_by_two_ways(runs: list[Run], tmp_path: Path) -> None:
    file = files.write(tmp_path / "a.csv", system(0))
    for pair in ([runs[0], str(runs[0].root)], [file, str(file)]):
        with pytest.raises(MgkitError, match="are the same member"):
            ensemble(pair)  # type: ignore[arg-type]
    with pytest.raises(MgkitError, match=r"no score file .*none\.csv"):
        ensemble([file, tmp_path / "none.csv"])


def test_what_one_member_knows_holds_for_all() -> None:
    bare = replace(system(0), labels=None, classes=None)
    found = gather([bare, system(1)], "test")
    assert found.classes == Classes(NAMES)
    expected = dict(zip(system(1).clip_ids, system(1).truth().tolist(), strict=True))
    assert found.truth().tolist() == [expected[clip_id] for clip_id in found.clip_ids]
    with pytest.raises(MgkitError, match="s1 and s2 disagree"):
        gather([bare, system(1), mislabelled([bare, system(2)])[1]], "test")
    blind = ensemble([bare, replace(system(1), labels=None)])
    assert blind.scores.labels is None
    assert "Top-1" not in repr(blind)
    for use in (blind.table, lambda: blind.to_run("nowhere")):
        with pytest.raises(MgkitError, match="no member knows the true classes"):
            use()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0, 0], "all weights are 0"),
        ([1], "one number of 0 or more for each of 2 members"),
        ([-1, 2], "0 or more"),
        ([np.nan, 1], "0 or more"),
        ([np.inf, 1], "0 or more"),
        ({"x": 1}, "differ in y"),
        ({"x": 1, "y": 1, "z": 1}, "differ in z"),
    ],
)
def test_weights_that_are_none(weights: Any, message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        weights_of(weights, ("x", "y"))


def test_weights_of_any_size_sum_to_one() -> None:
    for weights in ([1e308, 1e308], [1e-320, 1e-320], [0, 5e-324]):
        assert weights_of(weights, ("x", "y")).sum() == pytest.approx(1)


def test_same_names_are_told_apart() -> None:
    scores = [system(0, "a"), system(1, "a"), system(2, "a (1)"), system(3, "ensemble")]
    names = gather(scores, "test").names
    assert len(set(names)) == 4
    assert "ensemble" not in names


def test_runs_of_the_same_name_are_told_apart_by_their_folders(runs: list[Run], tmp_path: Path) -> None:
    for i in range(2):
        shutil.copytree(runs[i].root, tmp_path / f"seed{i}" / "fused")
    found = gather(
        [tmp_path / "seed0" / "fused", runs[2], tmp_path / "seed1" / "fused", system_of(runs[0])], "test"
    )
    assert found.names == ("seed0/fused", "run2", "seed1/fused", "else")


def system_of(run: Run) -> Scores:
    return replace(Scores.of(run.predictions()), name="else")


# ---------------------------------------------------------------------------------------------------------------------
# Runs, and becoming one


def test_an_ensemble_of_runs_is_a_run(runs: list[Run], tmp_path: Path) -> None:
    found = ensemble([runs[0], str(runs[1].root), files.write(tmp_path / "c.parquet", runs[2].predictions())])
    assert found.members.names == ("run0", "run1", "c")
    assert found.members.subjects is not None
    made = found.to_run(tmp_path / "mixed", name="all three")
    assert (made.name, made.outputs, made.classes) == ("all three", ("fused",), runs[0].classes)
    np.testing.assert_array_equal(made.predictions().scores(), found.scores.probabilities)
    assert evaluate(made)["top1"].iloc[0] == pytest.approx(found.table()["top1"]["ensemble"])
    with pytest.raises(MgkitError, match="knows no clip folder"):
        made.clips()


def test_of_runs_on_one_clip_folder_the_clips_are_at_hand(runs: list[Run], tmp_path: Path) -> None:
    made = ensemble(runs[:2], weights=[1, 3]).to_run(tmp_path / "deep" / "fused")
    assert ensemble(runs[:2], "val", weights=[1, 3]).to_run(made.root).splits() == ["test", "val"]
    assert made.clips().fingerprint == runs[0].clips().fingerprint
    assert made.recipe["weights"] == [0.25, 0.75]
    assert "majority" in evaluate(made).index
    assert len(compare_runs([runs[0], made])) == 2
    again = ensemble([made, runs[2]])  # and may be a member
    assert again.scores.probabilities == pytest.approx(
        fuse(np.stack([made.predictions().scores(), runs[2].predictions().scores()]), [0.5, 0.5])
    )
    with pytest.raises(MgkitError, match=r"already holds another run, which differs in recipe\.weights"):
        ensemble(runs[:2]).to_run(made.root)
    with pytest.raises(MgkitError, match="folder of a member"):
        ensemble(runs[:2]).to_run(runs[0].root)
    assert load_run(runs[0].root).splits() == ["test", "val"]


def test_an_output_of_the_runs(runs: list[Run]) -> None:
    found = ensemble(runs, output="pose")
    expected = np.mean([run.predictions().scores("pose") for run in runs], axis=0)
    assert found.scores.probabilities == pytest.approx(expected, abs=1e-6)
    with pytest.raises(MgkitError, match="run0 has no predictions of split 'all'"):
        ensemble(runs, "all")


def test_score_files_need_class_names_to_become_a_run(tmp_path: Path) -> None:
    bare = [replace(system(i), classes=None) for i in range(2)]
    with pytest.raises(MgkitError, match="no member knows the class names"):
        ensemble(bare).to_run(tmp_path / "run")
    named = ensemble([bare[0], system(1)]).to_run(tmp_path / "run")
    assert named.classes.names == NAMES
    assert named.class_counts("test").tolist() == np.bincount(system(1).truth()).tolist()  # type: ignore[union-attr]


def test_members_are_tempered_before_they_are_fused(runs: list[Run]) -> None:
    heat = fit_temperatures(runs, "val")
    assert list(heat) == ["run0", "run1", "run2"]
    found = ensemble(runs, temperatures=heat)
    expected = np.mean([temper(r.predictions().scores(), heat[r.name].value) for r in runs], axis=0)
    assert found.scores.probabilities == pytest.approx(expected, abs=1e-6)
    assert found.members.temperatures.tolist() == [t.value for t in heat.values()]
    odd: list[tuple[Any, str]] = [
        ([1.0], "1 temperatures for 3"), ({"run0": 1.0}, "differ in run1, run2"),
        ([1.0, 0.0, 1.0], "temperature is 0"), ([1.0, Temperature(np.nan, 0, 0, 0, False), 1.0], "temperature is nan"),
    ]  # fmt: skip
    for given, message in odd:
        with pytest.raises(MgkitError, match=message):
            ensemble(runs, temperatures=given)


def test_subjects_are_looked_up_or_given(runs: list[Run]) -> None:
    found = gather(runs, "test").subjects
    table = runs[0].clips().table.set_index("clip_id")
    assert found == [table.loc[clip_id, "subject"] for clip_id in gather(runs, "test").clip_ids]
    given = gather([system(0)], "test", subjects={f"c{i}": f"p{i % 2}" for i in range(12)})
    assert given.subjects is not None
    assert set(given.subjects) == {"p0", "p1"}
    with pytest.raises(MgkitError, match="subjects lacks"):
        gather([system(0)], "test", subjects={"c0": "p"})
