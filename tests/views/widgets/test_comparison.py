"""The comparison of two runs, without a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.scores.scores import import_scores
from mgkit.views import figures
from mgkit.views.widgets import RunComparison, Selection
from tests.views.widgets.conftest import FUSED, POSE, RGB, made_run


def click(widget: RunComparison, fate: str, label: int | None = None, **more: Any) -> None:
    widget._handle_custom_msg({"act": "pick", "fate": fate, "label": label, **more}, [])


def test_fates_counted_by_hand(run: Run, other: Run) -> None:
    """`other` is wrong on c0, c3, c5 and `run` on c3, c7."""
    widget = RunComparison(other, run)
    assert widget.found["totals"] == {"right": 4, "fixed": 2, "broken": 1, "wrong": 1}
    assert widget.found["order"] == [0, 1]
    assert widget.found["counts"] == [[2, 1, 0, 1], [2, 1, 1, 0], [0, 0, 0, 0]]
    assert "ours fixes 2 and breaks 1 of 8 clips of theirs: +12.5 points" in widget.found["words"]
    assert "may be chance" in widget.found["words"]
    fixed = widget.found["listed"]["fixed"]
    assert {clip["clip_id"] for clip in fixed} == {"c0", "c5"}
    assert fixed[0]["change"] == pytest.approx(0.94)
    json.dumps(widget.found, allow_nan=False)


@pytest.mark.parametrize(
    "fate, label, ids",
    [("fixed", None, ("c0", "c5")), ("fixed", 1, ("c5",)), ("broken", None, ("c7",)), ("wrong", None, ("c3",)),
     ("broken", 0, ())],
)  # fmt: skip
def test_clicks_select(run: Run, other: Run, fate: str, label: int | None, ids: tuple[str, ...]) -> None:
    widget = RunComparison(other, run, selection=Selection())
    click(widget, fate, label)
    assert widget.selection.clip_ids == ids
    twin = RunComparison(other, run)
    twin.select(fate, None if label is None else run.classes.names[label])
    assert twin.selection.state == widget.selection.state


def test_a_clip_of_the_list_is_looked_at(run: Run, other: Run) -> None:
    widget = RunComparison(other, run)
    widget._act("look", {"clip_id": "c5", "fate": "fixed"})
    assert (widget.selection.focus, widget.selection.clip_ids) == ("c5", ("c0", "c5"))
    assert widget.selected["focus_place"] == [1, "fixed"]
    with pytest.raises(MgkitError, match="not compared"):
        widget._act("look", {"clip_id": "nowhere", "fate": "fixed"})


def test_it_is_linked_to_the_difference_of_confusion(run: Run, other: Run) -> None:
    widget = RunComparison(other, run)
    matrix = widget.confusion()
    click(widget, "broken")
    assert matrix.selected["here"] == 1
    assert matrix.names == ["ours", "theirs"]


def test_runs_of_one_pathway_are_compared_by_their_best(tmp_path: Path) -> None:
    one, other = made_run(tmp_path / "rgb", {"rgb": RGB}), made_run(tmp_path / "pose", {"pose": POSE})
    widget = RunComparison(one, other)
    assert (widget.output, widget.outputs, widget.found["shown"]) == ("best", ["best"], ["RGB", "Pose"])
    with pytest.raises(MgkitError, match="there is none"):
        widget.confusion()
    with pytest.raises(MgkitError, match="no output 'rgb'"):
        RunComparison(one, other, output="rgb")


def test_two_outputs_of_one_run(run: Run) -> None:
    """What pose fixes and breaks of RGB, against a plain loop."""
    truth = run.predictions().labels
    fixed = [f"c{i}" for i in range(8) if POSE[i] == truth[i] != RGB[i]]
    broken = [f"c{i}" for i in range(8) if RGB[i] == truth[i] != POSE[i]]
    assert fixed
    assert broken
    widget = RunComparison(run, run)
    assert (widget.output, widget.outputs) == (
        "rgb to pose",
        ["rgb to pose", "rgb to fused", "pose to fused"],
    )
    assert widget.names == ["ours RGB", "ours Pose"]
    assert [list(widget.select(fate)) for fate in ("fixed", "broken")] == [fixed, broken]
    assert widget.selection.description == "clips broken by ours Pose"
    assert (
        f"ours Pose fixes {len(fixed)} and breaks {len(broken)} of 8 clips of ours RGB"
        in widget.found["words"]
    )
    assert figures.run_comparison(run, run, output=("rgb", "pose")).note.startswith(widget.found["words"])
    widget.output = "pose to fused"
    assert widget.names == ["ours Pose", "ours Fused"]
    assert widget.found["words"] == RunComparison(run, run, output=("pose", "fused")).found["words"]
    with pytest.raises(MgkitError, match="compared by different outputs"):
        widget.confusion()
    with pytest.raises(MgkitError, match="no output 'flow'"):
        RunComparison(run, run, output=("rgb", "flow"))
    with pytest.raises(MgkitError, match="one output for both runs, or one of each"):
        RunComparison(run, run, output="rgb to pose to fused")
    for same in ("rgb", ("rgb", "rgb")):
        with pytest.raises(
            MgkitError,
            match=r"itself by the output 'rgb': give another run, or two of its outputs \(rgb, pose",
        ):
            RunComparison(run, run, output=same)


def test_a_run_with_one_output_has_nothing_to_compare_with_itself(tmp_path: Path) -> None:
    run = made_run(tmp_path / "rgb", {"rgb": RGB})
    with pytest.raises(MgkitError, match=r"itself by the output 'rgb': give another run\.$"):
        RunComparison(run, run)


def test_an_output_of_each_of_two_runs(run: Run, other: Run) -> None:
    widget = RunComparison(other, run, output=("fused", "rgb"))
    assert widget.names == ["theirs Fused", "ours RGB"]
    assert widget.output in widget.outputs
    widget.output = "fused"
    assert widget.names == ["theirs", "ours"]


def test_equal_runs_and_runs_without_a_common_clip(tmp_path: Path) -> None:
    one, other = (made_run(tmp_path / name, {"fused": FUSED}) for name in ("a", "b"))
    widget = RunComparison(one, other)
    assert widget.found["p"] == 1
    assert "nothing was fixed or broken" in widget.found["words"]
    assert widget.to_figure().figure.get_figwidth() == figures.VENUES["cvpr"][0]
    elsewhere = import_scores(
        tmp_path / "c",
        clip_ids=["x"],
        labels=[0],
        probabilities={"fused": np.eye(3)[[0]]},
        classes=one.classes,
        name="elsewhere",
    )
    with pytest.raises(MgkitError, match="were tested on different clips"):
        RunComparison(one, elsewhere)
    with pytest.raises(MgkitError, match="no clip in common"):
        RunComparison(one, elsewhere, common=True)


def test_the_figure_is_the_same_twice_and_has_its_data(run: Run, other: Run, tmp_path: Path) -> None:
    widget = RunComparison(other, run)
    first, second = (widget.to_figure(venue="acm", columns=2).save(tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    data = widget.to_figure().data
    assert data[["both_right", "fixed", "broken", "both_wrong"]].to_numpy().tolist() == widget.found["counts"]
    bundle, _ = widget._repr_mimebundle_()
    assert "Static preview of RunComparison" in bundle["text/html"]


def test_another_output_is_counted_anew(run: Run, tmp_path: Path) -> None:
    other = made_run(tmp_path / "other", {"rgb": POSE, "pose": RGB, "fused": FUSED})
    widget = RunComparison(run, other)
    widget.output = "rgb"
    assert widget.found["totals"]["fixed"] == 2, "c6 and c7"
    with pytest.raises(MgkitError, match="unknown output 'audio'"):
        widget.output = "audio"
    with pytest.raises(MgkitError, match="unknown fate"):
        widget.select("lost")
