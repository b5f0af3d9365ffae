"""The one object that links the widgets."""

from __future__ import annotations

import pytest
import traitlets

from mgkit.errors import MgkitError
from mgkit.views.widgets.shared.selection import Selected, Selection


def test_a_new_one_is_empty() -> None:
    selection = Selection()
    assert (selection.clip_ids, selection.focus, len(selection)) == ((), None, 0)
    assert selection.description == "nothing selected"
    assert selection, "empty, and still there"
    assert repr(selection) == "Selection(0 clips: nothing selected)"


def test_order_is_kept_and_an_id_counts_once() -> None:
    selection = Selection(["c3", "c1", "c3", "c2"])
    assert selection.clip_ids == ("c3", "c1", "c2")
    assert list(selection) == ["c3", "c1", "c2"]
    assert selection.description == "3 clips"
    selection.set(iter(["c9"]))
    assert selection.description == "clip c9"


def test_observers_are_told_once_and_see_all_of_a_change() -> None:
    selection, seen = Selection(), []
    selection.watch(seen.append)
    selection.set(["a", "b"], focus="b", description="FN of rub hands", source="ClassAccuracy")
    assert seen == [Selected(("a", "b"), "b", "FN of rub hands")]
    assert (selection.source, seen[0].source) == ("ClassAccuracy", "ClassAccuracy")
    selection.set(["a", "b"], focus="b", description="FN of rub hands", source="somebody else")
    assert len(seen) == 1, "nothing changed, so nobody is told"
    assert selection.source == "ClassAccuracy"
    selection.focus_on("a")
    assert seen[-1] == Selected(("a", "b"), "a", "FN of rub hands")
    selection.focus_on(None)
    selection.clear(source="python")
    assert seen[-1] == Selected()
    assert len(seen) == 4


def test_the_trait_can_be_observed_and_not_set() -> None:
    selection, seen = Selection(), []
    selection.observe(lambda change: seen.append(change["new"].clip_ids), "state")
    selection.set(["a"])
    assert seen == [("a",)]
    with pytest.raises(traitlets.TraitError):
        selection.state = Selected(("b",))
    with pytest.raises(AttributeError):
        selection.clip_ids = ("b",)  # type: ignore[misc]


def test_watching_ends() -> None:
    selection, seen = Selection(), []
    stop = selection.watch(seen.append)
    selection.set(["a"])
    stop()
    stop()
    selection.set(["b"])
    assert len(seen) == 1


@pytest.mark.parametrize(
    "ids, focus, message",
    [
        ("c1", None, r"the string 'c1': give a list of ids, \['c1'\]"),
        ([1, 2], None, "1 is not a clip id"),
        (["a"], "b", "focus 'b' is not among the 1 selected"),
        ([], "a", "not among the 0 selected"),
    ],
)
def test_what_cannot_be_selected(ids: object, focus: str | None, message: str) -> None:
    selection = Selection(["before"])
    with pytest.raises(MgkitError, match=message):
        selection.set(ids, focus=focus)  # type: ignore[arg-type]
    assert selection.clip_ids == ("before",)


def test_focus_outside_the_selection_is_refused() -> None:
    with pytest.raises(MgkitError, match="select it as well"):
        Selection(["a"]).focus_on("b")


def test_an_observer_may_answer_once_but_not_for_ever() -> None:
    selection = Selection()
    stop = selection.watch(
        lambda state: selection.focus_on(state.clip_ids[0])
    )  # settles: the second changes nothing
    selection.set(["a", "b"])
    assert selection.focus == "a"
    stop()

    def swap(state: Selected) -> None:
        selection.set(state.clip_ids[::-1], source="swapper")

    selection.watch(swap)
    with pytest.raises(MgkitError, match="'swapper' set '2 clips'"):
        selection.set(["a", "b"])
    selection.unobserve_all("state")
    selection.set(["c"])
    assert selection.clip_ids == ("c",), "it works on after that"
