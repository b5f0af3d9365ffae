import pickle

import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models import (
    CrossModalFusion,
    LoadReport,
    from_mmaction2,
    load_state,
    pcan_prototypes,
    pose_only,
    rgb_only,
    to_mmaction2,
    two_pathway,
)

TINY = {"rgb_width": 8, "pose_width": 8, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1)}


@pytest.mark.parametrize(
    "build",
    [
        lambda: two_pathway(4, 5, **TINY),
        lambda: two_pathway(4, 5, fusion=None, embedding_dim=None, **TINY),
        lambda: rgb_only(4, width=2, embedding_dim=None),
        lambda: pose_only(4, 5, width=2, embedding_dim=None),
        lambda: CrossModalFusion(6, 4, 8),
    ],
)
def test_there_and_back(build):
    model, other = build(), build()
    published = to_mmaction2(model)
    assert len(published) == len(model.state_dict())
    state, report = from_mmaction2(published, other)
    assert set(report.used) == set(published)
    assert not report.left
    assert not report.initialised
    other.load_state_dict(state)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_names_in_the_published_layout():
    names = to_mmaction2(two_pathway(4, 5, **TINY))
    for name in (
        "backbone.rgb_path.conv1.bn.running_var",
        "backbone.rgb_path.layer3.0.conv1.conv.weight",
        "backbone.pose_path.layer1.0.downsample.bn.bias",
        "backbone.rgb_path.layer2_lateral.conv.weight",
        "backbone.rgb_path.layer3_lateral.conv.weight",
        "backbone.pose_path.layer1_lateral.bn.weight",
        "backbone.pose_path.layer2_lateral.conv.weight",
        "backbone.featuredifference2.rgb_cross_attn.q_proj.weight",
        "backbone.featuredifference3.skt_cross_attn.fc.bias",
        "backbone.featuredifference3.conv5.weight",
        "cls_head.fc_rgb.weight",
        "cls_head.fr_pose.spatio_cl_net.cl_fc.weight",
    ):
        assert name in names
    single = to_mmaction2(pose_only(4, 5, width=2))
    assert "cls_head.fc_cls.bias" in single
    assert "backbone.layer2.5.conv3.bn.weight" in single
    assert not any("embedding" in name or "cl_fc" in name for name in single)


def test_single_pathway_embedding_is_newly_initialised():
    model = pose_only(4, 5, width=2)
    state, report = from_mmaction2(to_mmaction2(pose_only(4, 5, width=2, embedding_dim=None)), model)
    assert report.initialised == ("heads.pose.embedding.weight", "heads.pose.embedding.bias")
    assert torch.equal(state["heads.pose.embedding.weight"], model.heads["pose"].embedding.weight)
    model.load_state_dict(state)


def test_the_report_says_what_was_left_and_why():
    published = to_mmaction2(two_pathway(4, 5, laterals=False, **TINY))
    published["cls_head.fr_rgb.spatio_cl_net.avg_f"] = torch.zeros(256, 4)
    published["cls_head.fc_rgb_coarse.weight"] = torch.zeros(7, 8)
    published["backbone.rgb_path.layer2_lateral.conv.weight"] = torch.zeros(1)
    model = two_pathway(4, 5, laterals=False, fusion=None, embedding_dim=None, **TINY)
    _, report = from_mmaction2(published, model)
    left = report.left
    assert "objective" in left["cls_head.fr_rgb.spatio_cl_net.avg_f"]
    assert "nothing" in left["cls_head.fc_rgb_coarse.weight"]
    assert "lateral" in left["backbone.rgb_path.layer2_lateral.conv.weight"]
    assert "fusion" in left["backbone.featuredifference2.conv1.weight"]
    assert "embedding" in left["cls_head.fr_pose.spatio_cl_net.cl_fc.weight"]
    text = str(report)
    assert f"used {len(report.used)} values" in text
    assert "left 1 (nothing in the model corresponds to it): cls_head.fc_rgb_coarse.weight" in text
    assert "newly" in str(LoadReport(used=(), left={}, initialised=("a",)))


def test_shape_mismatches_name_the_weights():
    with pytest.raises(MgkitError, match=r"cls_head\.fc_cls\.weight \(4, 32\) for .*\(7, 32\)"):
        from_mmaction2(to_mmaction2(pose_only(4, 5, width=2)), pose_only(7, 5, width=2))
    with pytest.raises(MgkitError, match=r"backbone\.conv1\.conv\.weight \(2, 5, 1, 7, 7\)"):
        from_mmaction2(to_mmaction2(pose_only(4, 5, width=2)), pose_only(4, 6, width=2))


def test_weights_of_another_kind_of_network_are_refused():
    with pytest.raises(MgkitError, match="merge_branches"):
        from_mmaction2(to_mmaction2(rgb_only(4, width=2, embedding_dim=None)), two_pathway(4, 5, **TINY))
    with pytest.raises(MgkitError, match="two_pathway"):
        from_mmaction2(to_mmaction2(two_pathway(4, 5, **TINY)), pose_only(4, 5, width=2))


def test_prototypes_come_back_class_first():
    bank = torch.randn(256, 4)
    found = pcan_prototypes({"cls_head.fr_rgb.spatio_cl_net.avg_f": bank})
    assert list(found) == ["rgb"]
    assert torch.equal(found["rgb"], bank.T)
    with pytest.raises(MgkitError, match="no prototypes"):
        pcan_prototypes({})


# Files


class Harmless:
    """Stands for whatever class a checkpoint may need to be unpickled."""


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "meta": {"epoch": 1}}, lambda s: {"model": s}]
)
def test_load_state_unwraps(tmp_path, wrap):
    state = {"a": torch.arange(3.0)}
    torch.save(wrap(state), tmp_path / "weights.pth")
    loaded = load_state(tmp_path / "weights.pth")
    assert list(loaded) == ["a"]
    assert torch.equal(loaded["a"], state["a"])


def test_load_state_refuses_code(tmp_path):
    path = tmp_path / "code.pth"
    path.write_bytes(pickle.dumps({"a": Harmless()}, protocol=2))
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": Harmless()}, tmp_path / "wrapped.pth")
    for name in ("code.pth", "wrapped.pth"):
        with pytest.raises(MgkitError, match=rf"{name} holds more than weights.*torch\.save"):
            load_state(tmp_path / name)


def test_load_state_explains_other_failures(tmp_path):
    with pytest.raises(MgkitError, match=r"no checkpoint .*absent\.pth"):
        load_state(tmp_path / "absent.pth")
    torch.save({"a": torch.zeros(1000)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:600])
    with pytest.raises(MgkitError, match=r"cut\.pth"):
        load_state(tmp_path / "cut.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(MgkitError, match=r"list\.pth is not a state dict"):
        load_state(tmp_path / "list.pth")
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(MgkitError, match="no weights"):
        load_state(tmp_path / "empty.pth")
