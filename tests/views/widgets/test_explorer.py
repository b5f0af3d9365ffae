"""The error explorer without a page: filters, clicks of its views, and what each part shows."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import ipywidgets
import numpy as np
import psutil
import pytest

import mgkit as mg
from mgkit.data.clips import Classes, Clips, load_clips
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run
from mgkit.results.scores.scores import import_scores
from mgkit.views.widgets import ErrorExplorer, Selection
from mgkit.views.widgets.explorer.filters import Filters, Sieve
from tests.player_clips import numbered_run
from tests.views.widgets.conftest import FUSED, LABELS, NAMES, POSE, RGB, made_run

WRONG = ["c3", "c7"]  # of the fused output; all clips are equally sure


def shown(explorer: ErrorExplorer) -> list[str]:
    return list(explorer.selection)


def press(explorer: ErrorExplorer, **content: object) -> None:
    """Send a message of the bar."""
    explorer.bar._handle_custom_msg({"act": "filter", **content}, [])


# ---------------------------------------------------------------------------------------------------------------------
# Filters


def test_it_begins_with_the_errors(run: Run) -> None:
    explorer = mg.widgets.ErrorExplorer(run)
    assert shown(explorer) == WRONG
    assert explorer.clip_id == "c3"
    assert explorer.selection.description == "wrong clips (Fused)"
    assert explorer.bar.state == {"picked": None, "count": 2, "of": 2, "narrows": False}
    assert [item["kind"] for item in explorer.gallery.selected["items"]] == ["wrong", "wrong"]
    assert repr(explorer).startswith("ErrorExplorer(ours, test: Selection(2 clips: wrong clips (Fused)")


def test_outcomes_of_a_class_and_an_output(run: Run) -> None:
    explorer = ErrorExplorer(run)
    press(explorer, name="label", value=0)
    assert shown(explorer) == WRONG, "c3 is an FN, c7 an FP of rub hands"
    assert [item["kind"] for item in explorer.gallery.selected["items"]] == ["FN", "FP"]
    press(explorer, name="outcome", value="FN")
    assert shown(explorer) == ["c3"]
    press(explorer, name="output", value="rgb")
    assert shown(explorer) == ["c2", "c3"]
    assert explorer._view("matrix").output == "rgb"
    press(explorer, name="outcome", value="all")
    assert shown(explorer) == ["c0", "c1", "c2", "c3", "c6", "c7"]
    press(explorer, name="outcome", value="TP")
    press(explorer, name="label", value=None)
    assert explorer.filters.outcome == "correct"
    explorer.filter(cls="touch chin", outcome="FP", output="fused")
    assert explorer.selection.description == "FP of touch chin (Fused)"
    press(explorer, name="output", value="rgb")
    explorer.reset()
    assert explorer.filters == Filters()
    assert explorer._view("matrix").output == "fused"


def test_each_filter_against_a_plain_loop(run: Run) -> None:
    explorer = ErrorExplorer(run)
    predictions = run.predictions()
    explorer.form.notes.set("c1", ["occluded"])  # type: ignore[union-attr]
    explorer.filter(outcome="all", pathways="disagree")
    assert shown(explorer) == [f"c{i}" for i in range(8) if RGB[i] != POSE[i]]
    truth = predictions.labels
    for which, (right, wrong) in {"rgb right": (RGB, POSE), "pose right": (POSE, RGB)}.items():
        explorer.filter(pathways=which)
        expected = [f"c{i}" for i in range(8) if right[i] == truth[i] != wrong[i]]
        assert expected
        assert shown(explorer) == expected
    assert explorer.selection.description == "all clips, pose right and RGB wrong"
    explorer.filter(pathways="any", notes="tagged")
    assert shown(explorer) == ["c1"]
    explorer.filter(notes="bad pose")
    assert shown(explorer) == []
    explorer.filter(notes="untagged")
    assert shown(explorer) == [f"c{i}" for i in range(8) if i != 1]
    sure = float(predictions.scores().max())
    explorer.filter(notes="any", low=sure + 0.01, high=1.0)
    assert shown(explorer) == []
    assert explorer.gallery.selected["items"] == []
    assert explorer.selection.description.startswith("all clips, confidence 97 to 100 %")
    explorer.filter(low=0.0, high=sure)
    assert len(shown(explorer)) == 8


def test_sorting_and_confidence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3), 40).astype(np.float32)
    labels = rng.integers(0, 3, 40)
    run = _scored(tmp_path, scores, labels)
    explorer = ErrorExplorer(run)
    wrong = [i for i in range(40) if scores[i].argmax() != labels[i]]
    by_surest = sorted(wrong, key=lambda i: -scores[i].max())
    assert shown(explorer) == [f"c{i:02}" for i in by_surest]
    explorer.filter(sort="unsure")
    assert shown(explorer) == [f"c{i:02}" for i in by_surest[::-1]]
    explorer.filter(sort="id", low=0.5, high=0.7)
    assert shown(explorer) == [f"c{i:02}" for i in wrong if 0.5 <= scores[i].max() <= 0.7]


def _scored(root: Path, scores: np.ndarray, labels: np.ndarray) -> Run:
    from mgkit.data.clips import Classes
    from mgkit.results.scores.scores import import_scores

    ids = [f"c{i:02}" for i in range(len(labels))]
    return import_scores(
        root / "run",
        clip_ids=ids,
        labels=labels,
        probabilities={"fused": scores},
        classes=Classes(("a", "b", "c")),
        name="run",
    )


def test_values_that_cannot_be(run: Run) -> None:
    explorer = ErrorExplorer(run)
    for name, value, message in [
        ("low", 2, "a number from 0 to 1"), ("low", True, "a number from 0 to 1"), ("label", 3, "cannot be 3"),
        ("label", True, "cannot be True"), ("label", 1.0, r"cannot be 1\.0"),
        ("outcome", "odd", "cannot be 'odd'"), ("subject", "S9", "cannot be 'S9'"),
        ("pathways", True, "cannot be True"), ("nonsense", 1, "unknown filter 'nonsense'"),
    ]:  # fmt: skip
        with pytest.raises(MgkitError, match=message):
            explorer._act({"act": "filter", "name": name, "value": value})
    assert shown(explorer) == WRONG
    press(explorer, name="low", value=0.9)
    press(explorer, name="high", value=0.2)
    assert (explorer.filters.low, explorer.filters.high) == (0.2, 0.2)
    with pytest.raises(MgkitError, match="use one of matrix"):
        ErrorExplorer(run, views=["nonsense"])
    with pytest.raises(MgkitError, match="no views: give some"):
        ErrorExplorer(run, views=[])


def test_a_run_with_one_pathway_has_nothing_to_disagree(tmp_path: Path) -> None:
    run = made_run(tmp_path / "one", {"rgb": RGB})
    explorer = ErrorExplorer(run)
    assert not explorer.bar.options["both"]
    assert explorer.selection.description == "wrong clips"
    with pytest.raises(MgkitError, match="both pathways"):
        explorer.filter(pathways="disagree")


@pytest.mark.parametrize("given", [{"fused": FUSED}, {"rgb": RGB, "pose": POSE}])
def test_the_map_of_imported_scores_suggests_nothing_that_cannot_work(
    tmp_path: Path, given: dict[str, list[int]]
) -> None:
    scores = {name: np.eye(3, dtype=np.float32)[said] for name, said in given.items()}
    run = import_scores(
        tmp_path, clip_ids=[f"c{i}" for i in range(8)], labels=LABELS, probabilities=scores, classes=Classes(NAMES),
        name="theirs",
    )  # fmt: skip
    explorer = ErrorExplorer(run)
    explorer.view = "map"
    (shown,) = explorer._shown_view.children
    assert isinstance(shown, ipywidgets.HTML)
    assert "scores" in shown.value or "no pathway" in shown.value
    assert "mgkit test" not in shown.value


def test_a_run_without_errors(tmp_path: Path) -> None:
    explorer = ErrorExplorer(made_run(tmp_path / "perfect", {"fused": [0, 0, 0, 0, 1, 1, 1, 1]}))
    assert shown(explorer) == []
    assert explorer.gallery.selected["description"] == "wrong clips"
    assert explorer.form.selected["clip"] is None
    with pytest.raises(MgkitError, match="no clip is in focus"):
        explorer.note("occluded")


# ---------------------------------------------------------------------------------------------------------------------
# Clicks


def test_a_click_in_a_view_and_the_filters(run: Run) -> None:
    explorer = ErrorExplorer(run)
    explorer._view("matrix").select("touch chin")
    assert shown(explorer) == ["c4", "c5", "c6", "c7"]
    assert explorer.bar.state["picked"] == "clips of touch chin"
    press(explorer, name="pathways", value="disagree")
    assert shown(explorer) == ["c6", "c7"]
    assert explorer.bar.state == {"picked": "clips of touch chin", "count": 2, "of": 4, "narrows": True}
    assert explorer.selection.description == "clips of touch chin, RGB and pose disagree"
    explorer._view("classes").select("rub hands", "TP")
    assert shown(explorer) == ["c1"], "the filter holds for the next click, too"
    # An empty cell is an answer, not a reset.
    explorer._view("matrix").select("rub hands", "cover face")
    assert shown(explorer) == []
    assert explorer.bar.state["picked"] == "rub hands predicted as cover face (Fused)"
    press(explorer, name="outcome", value="wrong")
    assert explorer.bar.state["picked"] is None
    assert shown(explorer) == [clip for clip in WRONG if RGB[int(clip[1])] != POSE[int(clip[1])]]


def test_clearing_goes_back_to_the_filters(run: Run) -> None:
    explorer = ErrorExplorer(run)
    matrix = explorer._view("matrix")
    matrix.select("touch chin")
    matrix._handle_custom_msg({"act": "clear"}, [])
    assert shown(explorer) == WRONG
    matrix.select("touch chin")
    explorer.bar._handle_custom_msg({"act": "unpick"}, [])
    assert shown(explorer) == WRONG


def test_what_python_selects_is_what_is_shown(run: Run) -> None:
    selection = Selection(["c5", "c1", "c7"], "mine")
    explorer = ErrorExplorer(run, selection=selection)
    assert shown(explorer) == ["c5", "c1", "c7"]
    assert explorer.bar.state == {"picked": "mine", "count": 3, "of": 3, "narrows": False}
    explorer.filter(pathways="disagree")
    assert shown(explorer) == ["c1", "c7"]
    selection.set(["c4", "c0", "elsewhere"], description="from Python")
    assert shown(explorer) == ["c4", "c0", "elsewhere"]
    assert explorer.filters.pathways == "any"
    assert explorer.bar.state["picked"] == "from Python"
    assert explorer.gallery.shown == ["c4", "c0"]
    explorer.filter(sort="id")
    assert shown(explorer) == ["c0", "c4"]


def test_a_filter_that_is_lifted_gives_back_what_python_selected(run: Run) -> None:
    selection = Selection(["c5", "elsewhere", "c1", "c7"], "mine")
    explorer = ErrorExplorer(run, selection=selection)
    explorer.filter(pathways="disagree")
    assert shown(explorer) == ["c1", "c7"]
    explorer.filter(pathways="any")
    assert shown(explorer) == ["c5", "elsewhere", "c1", "c7"]
    explorer.filter(low=1.0)
    assert shown(explorer) == []
    explorer.filter(low=0.0)
    assert shown(explorer) == ["c5", "elsewhere", "c1", "c7"]
    assert explorer.selection.description == "mine"


def test_next_and_previous_error(run: Run) -> None:
    explorer = ErrorExplorer(run)
    explorer.filter(outcome="all", sort="id")
    seen = []
    for _ in range(3):
        explorer.next(wrong=True)
        seen.append(explorer.clip_id)
    assert seen == ["c7", "c3", "c7"]
    explorer.next()
    assert explorer.clip_id == "c0"
    explorer.previous()
    explorer.previous(wrong=True)
    assert explorer.clip_id == "c3"
    explorer.gallery._handle_custom_msg({"act": "step", "by": 1, "wrong": True}, [])
    assert explorer.clip_id == "c7"
    explorer.gallery._handle_custom_msg({"act": "focus", "clip_id": "c1"}, [])
    explorer.gallery._handle_custom_msg({"act": "focus", "clip_id": "nobody"}, [])
    assert explorer.clip_id == "c1"
    assert explorer.selection.description == "all clips", "a focus leaves the selection alone"


def test_two_explorers_on_one_selection_do_not_echo(run: Run, other: Run) -> None:
    selection = Selection()
    one, two = ErrorExplorer(run, selection=selection), ErrorExplorer(other, selection=selection)
    one.filter(outcome="all", sort="id")
    one._view("matrix").select("touch chin")
    assert shown(one) == ["c4", "c5", "c6", "c7"]
    assert shown(two) == shown(one)


def test_subjects_need_clips(player_run: Run) -> None:
    explorer = ErrorExplorer(player_run)
    assert explorer.bar.options["subjects"] == ["S1"]
    explorer.filter(outcome="all", subject="S1")
    assert len(shown(explorer)) == 4
    assert "subject S1" in explorer.selection.description
    assert explorer.player is not None
    assert explorer.player.clip_id == explorer.clip_id


def test_a_view_of_ones_own(run: Run) -> None:
    selection = Selection()
    mine = mg.widgets.ClassAccuracy(run, metric="f1", selection=selection)
    explorer = ErrorExplorer(run, selection=selection, views=["matrix", ("Mine", mine)])
    assert explorer._tabs.tabs == [["matrix", "Confusion"], ["Mine", "Mine"]]
    explorer.view = "Mine"
    assert explorer._shown_view.children == (mine,)
    mine.select("rub hands", "TP")
    assert shown(explorer) == ["c0", "c1", "c2"]
    assert "rub hands" in set(explorer.to_figure("Mine").data["class"])


# ---------------------------------------------------------------------------------------------------------------------
# Notes


def test_a_note_is_saved_marked_and_read_by_the_next_explorer(run: Run) -> None:
    explorer = ErrorExplorer(run)
    explorer.note("occluded", text="arm")
    explorer.note(label="cover face")
    assert [item["tags"] for item in explorer.gallery.selected["items"]] == [["label wrong", "occluded"], []]
    assert explorer.form.selected["note"]["label"] == "cover face"
    assert ErrorExplorer(run).form.selected["note"]["text"] == "arm"
    with pytest.raises(MgkitError, match="unknown tag"):
        explorer.note("sleepy")
    # A clip that is noted stays in sight until something else is asked for.
    explorer.filter(notes="untagged")
    assert shown(explorer) == ["c7"]
    explorer.note("bad pose")
    assert shown(explorer) == ["c7"]


def test_the_notes_are_listed_and_counted_on_their_tab(run: Run) -> None:
    explorer = ErrorExplorer(run)
    assert [name for _, name in explorer._tabs.tabs] == ["Confusion", "Classes", "Map", "Notes"]
    explorer.note("label wrong", label="touch chin")
    assert explorer._tabs.tabs[-1] == ["notes", "Notes (1)"]
    explorer.view = "notes"
    listed = explorer._view("notes")
    assert [row["id"] for row in listed.listed["rows"]] == ["c3"]
    explorer.next()
    explorer.note("occluded")
    assert {row["id"] for row in listed.listed["rows"]} == {"c3", "c7"}
    listed._handle_custom_msg({"act": "show", "clip_id": "c3"}, [])
    assert set(shown(explorer)) == {"c3", "c7"}
    assert explorer.clip_id == "c3"
    assert explorer.bar.state["picked"] == "clips with notes"
    with pytest.raises(MgkitError, match="not a figure"):
        explorer.to_figure("notes")


def test_a_note_of_another_explorer_is_seen_at_the_next_clip(run: Run) -> None:
    explorer, second = ErrorExplorer(run), ErrorExplorer(run)
    second.note("bad pose")
    explorer.next()
    assert explorer._tabs.tabs[-1] == ["notes", "Notes (1)"]
    assert [item["noted"] for item in explorer.gallery.selected["items"]] == [True, False]


def test_notes_that_cannot_be_saved_are_kept_and_told_of(run: Run) -> None:
    path = run.root / "review.csv"
    path.write_text("something else\n")
    explorer = ErrorExplorer(run)
    assert "never overwritten" in explorer.form.selected["trouble"]
    explorer.note("occluded")
    explorer.next()
    explorer.note("ambiguous")
    assert path.read_text() == "something else\n"
    assert explorer.form.selected["unsaved"] == 2
    assert [item["tags"] for item in explorer.gallery.selected["items"]] == [["occluded"], ["ambiguous"]]
    path.unlink()
    explorer.form._handle_custom_msg({"act": "save"}, [])
    assert explorer.form.selected["trouble"] == ""
    assert {clip: note.tags for clip, note in run.notes().items()} == {
        "c3": ("occluded",),
        "c7": ("ambiguous",),
    }


# ---------------------------------------------------------------------------------------------------------------------
# What is missing, and what stays


def test_without_a_clip_folder_everything_but_pictures_works(player_run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "moved" / "run"
    shutil.copytree(player_run.root, moved)
    explorer = ErrorExplorer(mg.load_run(moved))
    assert explorer.player is None
    assert "is no longer at" in explorer.gallery.trouble
    explorer.note("occluded")
    explorer._view("classes")
    with pytest.raises(MgkitError, match="no longer at"):
        explorer.to_figure()
    with pytest.raises(MgkitError, match="no longer at"):
        explorer.to_figure("player")
    assert explorer.to_figure("matrix").data is not None
    assert "data:image/png" in explorer._repr_mimebundle_()["text/html"]
    clips = load_clips((player_run.root / player_run.config["data"]["root"]).resolve())
    assert ErrorExplorer(mg.load_run(moved), clips=clips).player is not None


def test_figures_of_what_is_shown(player_run: Run) -> None:
    explorer = ErrorExplorer(player_run)
    explorer.filter(outcome="all", sort="id")
    sheet = explorer.to_figure()
    assert sheet.data["clip_id"].tolist() == explorer.gallery.shown == ["a", "b", "c", "d"]
    assert sheet.data["outcome"].tolist() == ["wrong", "right", "right", "right"]
    assert sheet.data["frame"].tolist() == [20, 12, 20, 6]
    assert sheet.note == "all clips, 4 of 4 clips"
    assert len(explorer.to_figure("player").data) > 3
    assert "ErrorExplorer" in explorer._repr_mimebundle_()["text/html"]
    explorer.filter(low=0.99)
    with pytest.raises(MgkitError, match="no clips to draw"):
        explorer.to_figure()
    with pytest.raises(MgkitError, match="unknown view"):
        explorer.to_figure("nonsense")


def test_closing_leaves_nothing_behind(player_run: Run) -> None:
    before = set(ipywidgets.widgets.widget._instances)
    selection = Selection()
    explorer = ErrorExplorer(player_run, selection=selection)
    explorer.view = "classes"
    explorer.close()
    gc.collect()
    left = set(ipywidgets.widgets.widget._instances) - before
    kinds = {type(ipywidgets.widgets.widget._instances[key]).__name__ for key in left}
    assert not kinds & {
        "ErrorExplorer",
        "Gallery",
        "ReviewForm",
        "FilterBar",
        "ClipPlayer",
        "ConfusionMatrix",
    }
    selection.set(["a"])
    assert shown(explorer) == ["a"], "nobody listens any more"


@pytest.mark.slow
def test_clicking_through_many_clips_does_not_grow(player_clips: Clips, tmp_path: Path) -> None:
    explorer = ErrorExplorer(numbered_run(tmp_path / "run", player_clips))
    explorer.filter(outcome="all")
    count = len(ipywidgets.widgets.widget._instances)
    process = psutil.Process()

    def click(times: int) -> None:
        for i in range(times):
            explorer.next(wrong=i % 7 == 0)
            explorer.view = ("matrix", "classes")[i % 2]
            explorer.gallery._handle_custom_msg({"act": "thumbs", "ids": ["a", "b", "c", "d"]}, [])
            if i % 50 == 0:
                explorer.note("occluded", text=str(i))

    click(60)
    gc.collect()
    count = len(ipywidgets.widgets.widget._instances)
    before = process.memory_info().rss
    click(500)
    gc.collect()
    assert len(ipywidgets.widgets.widget._instances) == count
    assert process.memory_info().rss - before < 8 << 20


def test_a_sieve_of_many_clips_equals_a_search() -> None:
    from mgkit.results.run.records import Predictions

    rng = np.random.default_rng(3)
    count, classes = 500, 5
    labels = rng.integers(0, classes, count)
    scores = {
        name: rng.dirichlet(np.ones(classes), count).astype(np.float32) for name in ("rgb", "pose", "fused")
    }
    predictions = Predictions([f"c{i}" for i in range(count)], labels, scores)
    sieve = Sieve(predictions, tuple("abcde"), np.array([f"S{i % 4}" for i in range(count)], dtype=object))
    for _ in range(60):
        filters = Filters(
            outcome=str(rng.choice(["all", "wrong", "TP", "FN", "FP"])), label=int(rng.integers(classes)),
            output=str(rng.choice(["rgb", "pose", "fused"])), subject=str(rng.choice(["", "S2"])),
            low=float(rng.uniform(0, 0.6)), pathways=str(rng.choice(["any", "disagree", "rgb right", "pose right"])),
        )  # fmt: skip
        said = {name: array.argmax(1) for name, array in scores.items()}
        expected = []
        for i in range(count):
            true, guess = labels[i] == filters.label, said[filters.output][i] == filters.label
            kind = "TP" if true and guess else "FN" if true else "FP" if guess else "TN"
            keep = {"all": kind != "TN", "wrong": kind in ("FN", "FP")}.get(
                filters.outcome, kind == filters.outcome
            )
            keep &= scores[filters.output][i].max() >= filters.low
            keep &= filters.subject in ("", f"S{i % 4}")
            rgb, pose = (bool(said[name][i] == labels[i]) for name in ("rgb", "pose"))
            keep &= {
                "any": True, "disagree": said["rgb"][i] != said["pose"][i], "rgb right": rgb and not pose,
                "pose right": pose and not rgb,
            }[filters.pathways]  # fmt: skip
            if keep:
                expected.append(i)
        rows = sieve.passing(sieve.picked(filters), filters, {})
        assert rows.tolist() == expected
