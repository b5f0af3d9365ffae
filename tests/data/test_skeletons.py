from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mgkit.data.skeletons import BODY25, IMIGUE22, LAYOUTS, Skeleton, get_skeleton
from mgkit.errors import MgkitError
from mgkit.files import write_json

ALL = pytest.mark.parametrize("skeleton", LAYOUTS.values(), ids=lambda s: s.name)


@ALL
def test_a_flip_is_an_involution_and_pairs_left_with_right(skeleton: Skeleton) -> None:
    index = skeleton.flip_index
    assert np.array_equal(index[index], np.arange(len(skeleton)))
    for left, right in skeleton.pairs:
        assert skeleton.joints[left].startswith("left_")
        assert skeleton.joints[right] == "right_" + skeleton.joints[left][5:]
    unpaired = [skeleton.joints[i] for i in range(len(skeleton)) if index[i] == i]
    assert not [name for name in unpaired if name.startswith(("left_", "right_"))]


@ALL
def test_mirroring_the_joints_maps_edges_to_edges(skeleton: Skeleton) -> None:
    index = skeleton.flip_index
    edges = {frozenset(edge) for edge in skeleton.edges}
    # Penn Action's only head joint hangs on both shoulders; every layout must be as symmetric as a body.
    assert {frozenset((int(index[a]), int(index[b]))) for a, b in skeleton.edges} == edges
    assert len(edges) == len(skeleton.edges)


def test_imigue22_is_the_published_numbering() -> None:
    assert {tuple(sorted(p)) for p in IMIGUE22.pairs} == {
        (2, 5), (3, 6), (4, 7), (8, 9), (10, 11), (12, 17), (13, 18), (14, 19), (15, 20), (16, 21)
    }  # fmt: skip
    edges = {(0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (0, 8), (8, 10), (0, 9), (9, 11)}
    edges |= {(7, tip) for tip in range(12, 17)} | {(4, tip) for tip in range(17, 22)}
    assert {tuple(sorted(e)) for e in IMIGUE22.edges} == edges


def test_body25_has_the_right_arm_first() -> None:
    assert BODY25.joints[2:8] == (
        "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"
    )  # fmt: skip


@ALL
def test_json_round_trip(skeleton: Skeleton, tmp_path: Path) -> None:
    write_json(tmp_path / "s.json", skeleton.to_dict())
    assert get_skeleton(tmp_path / "s.json") == skeleton


def test_bad_layouts_are_refused() -> None:
    with pytest.raises(MgkitError, match="does not join two"):
        Skeleton("x", ("a", "b"), ((0, 2),), ())
    with pytest.raises(MgkitError, match="two left/right pairs"):
        Skeleton("x", ("a", "b", "c"), (), ((0, 1), (1, 2)))
    with pytest.raises(MgkitError, match="not unique"):
        Skeleton("x", ("a", "a"), (), ())
    with pytest.raises(MgkitError, match="unknown skeleton 'coco'"):
        get_skeleton("coco")
    with pytest.raises(MgkitError, match="lacks edges"):
        Skeleton.from_dict({"name": "x", "joints": [], "pairs": []})


def test_sides_of_joints_and_edges() -> None:
    for layout in LAYOUTS.values():
        for left, right in layout.pairs:
            assert (layout.sides[left], layout.sides[right]) == ("left", "right")
        flipped = {"left": "right", "right": "left", "middle": "middle"}
        assert [flipped[layout.sides[i]] for i in layout.flip_index] == list(layout.sides)
        for (a, b), side in zip(layout.edges, layout.edge_sides, strict=True):
            ends = {layout.sides[a], layout.sides[b]} - {"middle"}
            assert side == (ends.pop() if len(ends) == 1 else "middle")
