"""The cost of fusion as benchmarks/fusion_cost.py counts it is what its operations are, and what the docs say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import fusion_cost
from benchmarks.fusion_cost import HEADS, MEETINGS, VARIANTS, Meeting, WholeMapFusion
from mgkit.errors import MgkitError
from mgkit.models import CrossModalFusion, two_pathway
from mgkit.models.fusion import CrossAttention

ROOT = Path(__file__).resolve().parents[1]
SMALL = Meeting(rgb_channels=24, pose_channels=8, hidden=16, size=6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("meeting", [SMALL, *MEETINGS])
def test_the_counter_agrees_with_the_formula(variant: str, meeting: Meeting) -> None:
    pooled, axis = VARIANTS[variant]
    counted = fusion_cost.count_module(meeting, pooled=pooled, axis=axis)
    assert counted == fusion_cost.module_flops(meeting, pooled=pooled, axis=axis)


@pytest.mark.parametrize("axis", ["channel", "time"])
def test_the_products_of_attention_are_counted_entry_by_entry(axis: str) -> None:
    """With the maps written out: one product and one sum for each summand of each entry."""
    tokens, hidden = 5, 16
    q, k, v = (torch.randn(HEADS, tokens, hidden // HEADS) for _ in range(3))
    if axis == "channel":
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    maps = torch.stack([a @ b.T for a, b in zip(q, k, strict=True)])
    operations = 2 * maps.numel() * q.shape[2] + 2 * (maps @ v).numel() * maps.shape[2]
    assert fusion_cost.attention_map_entries(hidden, tokens, axis) == 2 * maps.numel()
    assert fusion_cost.attention_flops(hidden, tokens, axis) == 2 * operations
    with torch.device("meta"):  # where the counter sees the products; it knows no fused attention of a CPU
        module, x = CrossAttention(hidden, heads=HEADS, axis=axis), torch.zeros(1, tokens, hidden)
    counted = fusion_cost.count_flops(lambda: module(x, x))
    assert counted == operations + 4 * 2 * tokens * hidden**2  # one direction, and its four linear layers


@pytest.mark.parametrize("axis", ["channel", "time"])
@pytest.mark.parametrize("sequential", [False, True])
def test_without_space_the_whole_map_is_the_pooled_one(axis: str, sequential: bool) -> None:
    settings = {"heads": 2, "axis": axis, "sequential": sequential, "zero_init_gates": False}
    pooled, whole = CrossModalFusion(6, 4, 8, **settings), WholeMapFusion(6, 4, 8, **settings)
    whole.load_state_dict(pooled.state_dict())
    rgb, pose = torch.randn(2, 6, 3, 1, 1), torch.randn(2, 4, 12, 1, 1)
    for ours, theirs in zip(whole(rgb, pose), pooled(rgb, pose), strict=True):
        torch.testing.assert_close(ours, theirs)
    wide = torch.randn(2, 6, 3, 5, 4), torch.randn(2, 4, 12, 5, 4)
    assert [x.shape for x in whole(*wide)] == [x.shape for x in wide]
    with pytest.raises(MgkitError, match="of one size"):
        whole(torch.zeros(1, 6, 1, 2, 2), torch.zeros(1, 4, 4, 3, 3))


def test_the_meetings_are_the_full_networks() -> None:
    model = fusion_cost.build_network("pooled, channel")
    with torch.device("meta"):
        built = two_pathway(fusion_cost.CLASSES, fusion_cost.JOINTS)
    assert model.state_dict().keys() == built.state_dict().keys()
    for mine, theirs in zip(model.parameters(), built.parameters(), strict=True):
        assert mine.shape == theirs.shape


@pytest.mark.slow
def test_the_method_page_shows_what_the_script_prints() -> None:
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    for table in fusion_cost.tables():
        assert table in page, "run `python benchmarks/fusion_cost.py` and put its tables into docs/method.md"
