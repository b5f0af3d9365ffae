"""The list of noted clips without a page."""

from __future__ import annotations

from pathlib import Path

from mgkit.results.run.folder import Run
from mgkit.results.run.review import COLUMNS
from mgkit.views.widgets import ReviewList, Selection
from mgkit.views.widgets.review.list import LISTED


def sent_by(widget: ReviewList) -> list[dict[str, str]]:
    """Messages to the page from now on."""
    sent: list[dict[str, str]] = []
    widget.send = lambda content, buffers=None: sent.append(content)
    return sent


def note_elsewhere(run: Run) -> None:
    """A note on a clip that was not tested, in the file."""
    with (run.root / "review.csv").open("a") as file:
        file.write("elsewhere,train,occluded,,,\n")


def test_nothing_is_noted(run: Run) -> None:
    listed = ReviewList(run).listed
    assert listed["rows"] == []
    assert listed["count"] == 0
    assert listed["trouble"] == ""
    assert not (run.root / "review.csv").exists(), "looking writes nothing"


def test_what_is_listed(run: Run) -> None:
    notes = run.notes()
    notes.set("c3", ["label wrong"], label="touch chin")
    notes.set("c0", ["occluded", "bad pose"], text="<b>behind</b> a cup")
    note_elsewhere(run)
    widget = ReviewList(run)
    rows = {row["id"]: row for row in widget.listed["rows"]}
    assert rows["c3"] == {
        "id": "c3", "split": "test", "tags": ["label wrong"], "label": "touch chin", "text": "", "here": True,
        "true": "rub hands", "predicted": "touch chin",
    }  # fmt: skip
    assert rows["c0"]["tags"] == ["occluded", "bad pose"]
    assert not rows["elsewhere"]["here"]
    assert widget.listed["tags"] == [["label wrong", 1], ["occluded", 2], ["bad pose", 1]]
    assert widget.listed["file"].endswith("ours/review.csv")
    html = widget._repr_mimebundle_()[0]["text/html"]
    assert "&lt;b&gt;behind&lt;/b&gt; a cup" in html


def test_the_latest_comes_first_and_the_list_ends(run: Run) -> None:
    stamp = "2026-01-01T{:02d}:{:02d}:00+00:00".format
    lines = [",".join(COLUMNS)] + [
        f"x{i},train,occluded,,,{stamp(i // 60, i % 60)}" for i in range(LISTED + 5)
    ]
    (run.root / "review.csv").write_text("\n".join(lines) + "\n")
    listed = ReviewList(run).listed
    assert listed["count"] == LISTED + 5
    assert [row["id"] for row in listed["rows"][:2]] == [f"x{LISTED + 4}", f"x{LISTED + 3}"]
    assert len(listed["rows"]) == LISTED


def test_a_click_shows_the_noted_clips(run: Run) -> None:
    selection = Selection(["c1"])
    widget = ReviewList(run, selection=selection)
    for clip in ("c3", "c0"):
        run.notes().set(clip, ["occluded"])
    note_elsewhere(run)
    widget.refresh()
    widget._handle_custom_msg({"act": "show", "clip_id": "c0"}, [])
    assert set(selection) == {"c0", "c3"}
    assert selection.focus == "c0"
    assert widget.selected["focus"] == "c0"
    for nonsense in ("c1", "elsewhere", 3, None):
        widget._handle_custom_msg({"act": "show", "clip_id": nonsense}, [])
    assert selection.focus == "c0", "clips without a note, or of another split, are not shown"


def test_the_csv_is_that_of_the_notes(run: Run, tmp_path: Path) -> None:
    run.notes().set("c3", ["label wrong"], label="touch chin", text='says "no", twice')
    widget = ReviewList(run)
    sent = sent_by(widget)
    widget._handle_custom_msg({"act": "csv"}, [])
    assert sent == [{"csv": (run.root / "review.csv").read_text(), "name": "review_ours.csv"}]


def test_a_damaged_file_is_told_of(run: Run) -> None:
    widget = ReviewList(run)
    (run.root / "review.csv").write_text("not notes\n")
    widget.refresh()
    assert "line 1" in widget.listed["trouble"]
    assert widget.listed["rows"] == []
    (run.root / "review.csv").write_text("nor these\n")
    sent = sent_by(widget)
    widget._handle_custom_msg({"act": "csv"}, [])
    assert sent == []
    assert "nor these" in widget.listed["trouble"]
