"""Review notes: kept in the run folder, by whoever writes them, and never lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mgkit.cli import main
from mgkit.data.clips import Classes
from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, create_run, load_run
from mgkit.results.run.review import Change
from mgkit.results.scores.scores import import_scores
from tests.tiny import tiny_clips

HEAD = "clip_id,split,tags,label,note,updated\n"


def imported(root: Path, ids: Sequence[str]) -> Run:
    return import_scores(
        root,
        clip_ids=ids,
        labels=[i % 2 for i in range(len(ids))],
        probabilities={"fused": [[0.9, 0.1]] * len(ids)},
        classes=Classes(("rub hands", "touch, chin")),
        name="run",
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return imported(tmp_path / "run", ["c0", "c1", "c2"])


def test_notes_come_back_as_they_were(run: Run) -> None:
    notes = run.notes()
    assert (len(notes), bool(run.notes())) == (0, False)
    text = 'looks like "two", gestures;\nsecond line, naïve 手 =1+1'
    notes.set("c0", ["bad pose", "ambiguous"], text=text)
    notes.set("c1", label="rub hands")
    again = load_run(run.root).notes()
    assert again["c0"].tags == ("ambiguous", "bad pose")
    assert again["c0"].text == text
    assert (again["c1"].tags, again["c1"].label, again["c1"].split) == (("label wrong",), "rub hands", "test")
    assert again["c1"].updated
    assert again.tagged("bad pose") == ["c0"]
    assert "2 clips (label wrong 1, ambiguous 1, bad pose 1)" in repr(again)
    frame = again.frame()
    assert list(frame) == ["clip_id", "split", "tags", "label", "note", "updated"]
    assert frame["tags"].tolist() == ["ambiguous; bad pose", "label wrong"]


def test_a_note_that_says_nothing_is_removed(run: Run) -> None:
    notes = run.notes()
    notes.set("c0", ["occluded"])
    notes.change(Change("c0", "test", drop=("occluded",)))
    assert "c0" not in notes
    assert (run.root / "review.csv").read_text() == HEAD


def test_export_anywhere(run: Run, tmp_path: Path) -> None:
    notes = run.notes()
    notes.set("c2", ["ambiguous"], text="a")
    path = notes.save(tmp_path / "new" / "mine.csv")
    assert path.read_bytes() == (run.root / "review.csv").read_bytes()


def test_two_kernels_keep_each_others_notes(run: Run) -> None:
    one, two = run.notes(), run.notes()
    one.set("c0", ["occluded"], text="mine")
    two.change(Change("c1", "test", add=("ambiguous",)))
    assert set(two) == {"c0", "c1"}
    # The same clip: each changes what is there, not what it last saw.
    one.change(Change("c1", "test", add=("bad pose",)))
    two.change(Change("c0", "test", text="theirs", before=""))
    assert one.refresh()
    assert not one.refresh()
    assert one["c1"].tags == ("ambiguous", "bad pose")
    assert one["c0"].text == "mine\ntheirs"
    one.change(Change("c0", "test", text="together", before="mine\ntheirs"))
    assert one["c0"].text == "together"


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(run: Run) -> None:
    code = (
        "import sys; from mgkit.results.run.folder import load_run; from mgkit.results.run.review import Change\n"
        "notes = load_run(sys.argv[1]).notes()\n"
        "for i in range(15): notes.change(Change(f'{sys.argv[2]}{i}', 'test', add=('occluded',)), "
        "Change('shared', 'test', text=f'{sys.argv[2]}{i}', before='nothing of the kind'))\n"
    )
    ids = [*(f"{name}{i}" for name in "xyz" for i in range(15)), "shared"]
    run = imported(run.root.with_name("many"), ids)
    running = [subprocess.Popen([sys.executable, "-c", code, str(run.root), name]) for name in "xyz"]
    assert [process.wait() for process in running] == [0, 0, 0]
    notes = run.notes()
    assert {f"{name}{i}" for name in "xyz" for i in range(15)} <= set(notes)
    assert len(notes["shared"].text.splitlines()) == 45


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "line 1: the columns are none"),
        (b"name,age\nx,3\n", "line 1: the columns are name, age"),
        (HEAD.encode() + b"c0,test,occluded\n", "line 2: it has 3 fields instead of 6"),
        (HEAD.encode() + b"c0,test,sleepy,,,\n", "line 2: there is no tag 'sleepy'"),
        (HEAD.encode() + b"c0,test,,no class,,\n", "line 2: label 'no class' is not a class of the run"),
        (HEAD.encode() + b"c0,test,,,a,\nc0,test,,,b,\n", "line 3: clip 'c0' is in two rows"),
        (HEAD.encode() + b",test,,,a,\n", "line 2: the clip_id is missing"),
        (HEAD.encode() + b"c0,test,,,a,yesterday\n", "line 2: updated is 'yesterday'"),
        (HEAD.encode() + b'c0,test,,,"half a row', "line 2"),
        (HEAD.encode() + b"c0,test,,,\xff\xfe,\n", "is not UTF-8 text"),
        (b"\x00" * 40, "line 1"),
    ],
)
def test_a_damaged_or_foreign_file_is_never_overwritten(run: Run, content: bytes, message: str) -> None:
    notes = run.notes()
    path = run.root / "review.csv"
    path.write_bytes(content)
    for act in (run.notes, notes.refresh, lambda: notes.set("c1", ["occluded"])):
        with pytest.raises(MgkitError, match=message) as caught:
            act()
        assert str(path) in str(caught.value)
        assert "never overwritten" in str(caught.value)
    assert path.read_bytes() == content


def test_a_file_from_a_spreadsheet_is_read(run: Run) -> None:
    text = "\ufeff" + HEAD + 'c0,test,occluded;bad pose,"touch, chin",by hand,\n\n'
    (run.root / "review.csv").write_bytes(text.replace("\n", "\r\n").encode())
    note = run.notes()["c0"]
    assert (note.tags, note.label, note.text) == (("occluded", "bad pose"), "touch, chin", "by hand")


def test_what_cannot_be_noted(run: Run) -> None:
    notes = run.notes()
    with pytest.raises(MgkitError, match="there is no tag 'sleepy'"):
        notes.set("c0", ["sleepy"])
    with pytest.raises(MgkitError, match="there is no class 'no'"):
        notes.set("c0", label="no")
    with pytest.raises(MgkitError, match="needs a clip"):
        notes.set("")
    with pytest.raises(MgkitError, match="there is no tag"):
        notes.tagged("no")
    assert not (run.root / "review.csv").exists()


def test_a_full_disk_leaves_the_old_notes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = run.notes()
    notes.set("c0", ["occluded"])
    before = notes.path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(MgkitError, match="No space left"):
            notes.set("c1", ["occluded"])
    assert notes.path.read_bytes() == before
    assert list(notes) == ["c0"]


def test_dropping_label_wrong_takes_the_proposal_with_it() -> None:
    note = Change("c", "test", label="rub hands").of(None)
    assert note.tags == ("label wrong",)
    assert Change("c", "test", drop=("label wrong",)).of(note).label == ""
    assert Change("c", "test", label="").of(note).tags == ("label wrong",)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("one\rtwo", "one\ntwo"),
        ("one\r\ntwo", "one\ntwo"),
        ("half a smile \ud83d", "half a smile \ufffd"),
        ("\ud83d\ude00 whole, in two halves", "\U0001f600 whole, in two halves"),
        ("nothing \0, next line \x85, rule \u2028.", "nothing \0, next line \x85, rule \u2028."),
        ("x" * 20_000, "x" * 20_000),
    ],
)
def test_whatever_is_typed_can_be_read_again(run: Run, text: str, kept: str) -> None:
    run.notes().set("c0", text=text)
    assert run.notes()["c0"].text == kept
    run.notes().set("c1", ["occluded"])
    assert run.notes()["c0"].text == kept


def test_a_text_that_could_not_be_read_again_is_refused(run: Run) -> None:
    notes = run.notes()
    notes.set("c0", ["occluded"])
    with pytest.raises(MgkitError, match=r"'c1' would have 140,000 characters: shorten it"):
        notes.set("c1", text="x" * 140_000)
    assert list(run.notes()) == ["c0"]


def test_returns_from_a_spreadsheet_survive_a_change(run: Run) -> None:
    """Old spreadsheets end a line within a cell by a carriage return, and ids come from anywhere."""
    (run.root / "review.csv").write_bytes(HEAD.encode() + b'"c\r0",test,,,"one\rtwo",\n')
    run.notes().set("c1", ["occluded"])
    again = run.notes()
    assert set(again) == {"c\r0", "c1"}
    assert again["c\r0"].text == "one\rtwo"
    assert f"1 note on clips that {run.root} does not have" in repr(again)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_unicode_text_of_a_spreadsheet_and_its_empty_rows(run: Run, encoding: str) -> None:
    text = HEAD.replace(",", "\t") + "c0\ttest\toccluded\t\tgrüße 好\t\n\t\t\t\t\t\n\n"
    (run.root / "review.csv").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    notes = run.notes()
    assert (list(notes), notes["c0"].text) == (["c0"], "grüße 好")
    wide = " and in UTF-16" if encoding == "utf-16" else ""
    assert notes.odd == [
        f"a spreadsheet saved the file with tabs{wide}: read, and written with commas in UTF-8 at the next change"
    ]
    notes.set("c1", ["ambiguous"])
    assert (notes.odd, (run.root / "review.csv").read_text("utf-8").splitlines()[1]) == (
        [], "c0,test,occluded,,grüße 好,"
    )  # fmt: skip


@pytest.mark.parametrize(("mark", "marks"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_spreadsheet_may_change_the_marks_and_take_zeros_away(
    tmp_path: Path, mark: str, marks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = imported(tmp_path / "run", ["001", "012", "7"])
    row = mark.join(("1", "test", '"occluded; bad pose"', "", '"one; two"', ""))
    text = HEAD.replace(",", mark) + f"{row}\n" + mark.join(("7", "test", "", "rub hands", "", "")) + "\n"
    text += mark.join(("2-Jan", "test", "ambiguous", "", "", "")) + "\n"
    (run.root / "review.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    notes = run.notes()
    assert list(notes) == ["001", "7", "2-Jan"]
    assert (notes["001"].tags, notes["001"].text) == (("occluded", "bad pose"), "one; two")
    said = [
        f"a spreadsheet saved the file with {marks}: read, and written with commas in UTF-8 at the next change",
        "leading zeros of ids were lost in a spreadsheet: put back (1 is 001)",
        f"1 note on clips that {run.root} does not have: 2-Jan",
    ]
    assert notes.odd == said
    assert all(text in repr(notes) for text in said)
    assert main(["review", str(run.root)]) == 0
    assert all(f"odd: {text}" in capsys.readouterr().out for text in said[:1])
    notes.set("012", ["ambiguous"])
    assert notes.odd == said[2:]
    assert (run.root / "review.csv").read_text().splitlines()[1].startswith("001,test,occluded; bad pose,")
    notes.set("2-Jan")  # nothing is left of it
    assert run.notes().odd == []
    with (run.root / "review.csv").open("a") as file:
        file.write("12,test,occluded,,,\n")
    with pytest.raises(MgkitError, match="clip '012' is in two rows, once as '12' without its leading zeros"):
        run.notes()


def test_notes_are_on_clips_of_the_run_and_in_their_split(run: Run, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match=r"run has no clip 'c01': did you mean c1, c0\?"):
        run.notes().set("c01", ["occluded"])
    with pytest.raises(MgkitError, match="clip 'c0' of .* is in the split test, not in 'val': give that one"):
        run.notes().set("c0", ["occluded"], split="val")
    assert not (run.root / "review.csv").exists()
    clips = tiny_clips(tmp_path / "clips", videos=False)
    trained = create_run(tmp_path / "trained", recipe={}, clips=clips, pathways=["pose"], environment={})
    notes = trained.notes()
    assert notes.set("train_0_0", ["occluded"]).split == "train"
    with pytest.raises(MgkitError, match="is in the split train, not in 'test'"):
        notes.change(Change("train_0_0", "test", add=("bad pose",)))
    with pytest.raises(MgkitError, match="has no clip 'nobody': notes are on clips of the run"):
        notes.set("nobody", ["occluded"])
    clips.root.rename(tmp_path / "away")  # now nobody can tell
    away = load_run(trained.root).notes()
    assert away.set("train_0_0", ["ambiguous"], split="val").split == "val", (
        "a note follows the split that is given"
    )
    assert away.odd == []


def test_a_text_that_is_part_of_anothers_is_kept(run: Run) -> None:
    one = run.notes()
    run.notes().set("c0", text="not ok")
    assert one.change(Change("c0", "test", text="ok", before="")).text == "not ok\nok"
    assert one.change(Change("c0", "test", text="ok", before="")).text == "not ok\nok", (
        "said twice, kept once"
    )


def test_a_folder_that_is_away_takes_no_notes_with_it(run: Run) -> None:
    notes = run.notes()
    notes.set("c0", ["occluded"])
    away = run.root.rename(run.root.with_name("moved"))
    for act in (notes.refresh, lambda: notes.set("c1", ["occluded"])):
        with pytest.raises(MgkitError, match="is gone|cannot be written to"):
            act()
    assert list(notes) == ["c0"], "what was read is still shown"
    assert not run.root.exists()
    away.rename(run.root)
    notes.set("c1", ["occluded"])
    assert list(run.notes()) == ["c0", "c1"]
