import re

import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models import CrossModalFusion, Objective, load_published, match_names, write_published
from mgkit.models.weights.fitting import LoadReport
from mgkit.models.weights.load import from_mmaction2, to_mmaction2
from tests.models.nets import pose_only, rgb_only, two_pathway

TINY = {"rgb_width": 8, "pose_width": 8, "rgb_blocks": (1, 1, 1, 1), "pose_blocks": (1, 1, 1)}
TINY_RGB = {"width": 8, "blocks": (1, 1, 1, 1)}
TINY_POSE = {"width": 8, "blocks": (1, 1, 1)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        lambda: two_pathway(4, 5, **TINY),
        lambda: two_pathway(4, 5, fusion=None, embedding_dim=None, **TINY),
        lambda: two_pathway(4, 5, laterals=False, halve_time=True, fusion="time", **TINY),
        lambda: rgb_only(4, width=2),
        lambda: pose_only(4, 5, width=2, halve_time=True),
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
    assert "cls_head.fr_pose.spatio_cl_net.cl_fc.bias" in single


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
    assert "a head" in left["cls_head.fc_rgb_coarse.weight"]
    assert "lateral" in left["backbone.rgb_path.layer2_lateral.conv.weight"]
    assert "fusion" in left["backbone.featuredifference2.conv1.weight"]
    assert "embedding" in left["cls_head.fr_pose.spatio_cl_net.cl_fc.weight"]
    text = str(report)
    assert f"used {len(report.used)} values" in text
    assert "left 1 (a head that the model does not have): cls_head.fc_rgb_coarse.weight" in text
    assert "newly" in str(LoadReport(used=(), left={}, initialised=("a",)))


def test_shape_mismatches_name_the_weights_and_the_remedy():
    published = to_mmaction2(pose_only(4, 5, width=2))
    with pytest.raises(MgkitError, match=r"cls_head\.fc_cls\.weight \(4, 32\) for .*\(7, 32\).*classes="):
        from_mmaction2(published, pose_only(7, 5, width=2))
    with pytest.raises(MgkitError, match=r"backbone\.conv1\.conv\.weight \(2, 5, 1, 7, 7\).*joints="):
        from_mmaction2(published, pose_only(4, 6, width=2))
    with pytest.raises(MgkitError, match=r"cl_fc\.weight \(256, 32\).*embedding_dim"):
        from_mmaction2(published, pose_only(4, 5, width=2, embedding_dim=16))
    with pytest.raises(MgkitError, match=r"backbone\.conv1\.conv\.weight \(2, .*widths"):
        from_mmaction2(published, pose_only(4, 5, width=4))
    with pytest.raises(MgkitError, match=r"layer3\.0\.conv1\.conv\.weight \(32, 64, .*laterals"):
        from_mmaction2(to_mmaction2(two_pathway(4, 5, laterals=False, **TINY)), two_pathway(4, 5, **TINY))


def test_weights_of_another_kind_of_network_are_refused():
    with pytest.raises(MgkitError, match=r'nothing in the file.*\{"rgb": file, "pose": file\} merges'):
        from_mmaction2(to_mmaction2(rgb_only(4, width=2)), two_pathway(4, 5, embedding_dim=None, **TINY))
    with pytest.raises(MgkitError, match=r'has no rgb pathway: \{"rgb": file, "pose": file\} merges'):
        from_mmaction2(pose_only(4, 5, **TINY_POSE).state_dict(), two_pathway(4, 5, **TINY))
    with pytest.raises(MgkitError, match="two_pathway"):
        from_mmaction2(to_mmaction2(two_pathway(4, 5, embedding_dim=None, **TINY)), pose_only(4, 5, width=2))
    with pytest.raises(MgkitError, match=r"like stream\.0\.weight, .*needs names like backbone\.conv1"):
        from_mmaction2({"stream.0.weight": torch.zeros(1)}, pose_only(4, 5, width=2))


def test_a_deeper_or_shallower_network_is_refused():
    shallow, deep = pose_only(4, 5, **TINY_POSE), pose_only(4, 5, width=8, blocks=(1, 2, 1))
    with pytest.raises(
        MgkitError, match=r"another architecture; the model has no backbone\.layer2\.1\.conv1"
    ):
        from_mmaction2(to_mmaction2(deep), shallow)
    with pytest.raises(MgkitError, match=r"it lacks backbones\.pose\.stages\.1\.1\.conv1"):
        from_mmaction2(to_mmaction2(shallow), deep)


# Classes and joints


def test_classes_are_copied_by_an_explicit_list():
    old, model = two_pathway(4, 5, **TINY), two_pathway(3, 5, **TINY)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    state, report = from_mmaction2(to_mmaction2(old), model, classes=[2, None, 2])
    for pathway in ("rgb", "pose"):
        for kind in ("weight", "bias"):
            name = f"heads.{pathway}.classifier.{kind}"
            theirs = old.state_dict()[name]
            assert torch.equal(state[name], torch.stack([theirs[2], own[name][1], theirs[2]]))
            assert (
                report.adapted[f"cls_head.fc_{pathway}.{kind}"] == "2 of 3 classes from the file's 4, 1 new"
            )
    assert all(torch.equal(own[name], value) for name, value in model.state_dict().items())


def test_classes_in_another_order_of_the_same_number():
    old, model = rgb_only(3, width=2), rgb_only(3, width=2)
    state, _ = from_mmaction2(to_mmaction2(old), model, classes=[2, 0, 1])
    weight = old.state_dict()["heads.rgb.classifier.weight"]
    assert torch.equal(state["heads.rgb.classifier.weight"], weight[[2, 0, 1]])


def test_a_kinetics_head_is_replaced_when_asked():
    model = rgb_only(4, width=2)
    state, report = from_mmaction2(to_mmaction2(rgb_only(400, width=2)), model, classes="new")
    assert torch.equal(state["heads.rgb.classifier.weight"], model.heads["rgb"].classifier.weight)
    assert report.left["cls_head.fc_cls.bias"] == "the classes are new"
    assert "heads.rgb.classifier.weight" in report.initialised


def test_joints_are_copied_by_an_explicit_list():
    old, model = pose_only(4, 5, width=2), pose_only(4, 3, width=2)
    own = model.backbones["pose"].stem.conv.weight.detach().clone()
    state, report = from_mmaction2(to_mmaction2(old), model, joints=[4, None, 0])
    theirs = old.backbones["pose"].stem.conv.weight
    expected = torch.stack([theirs[:, 4], own[:, 1], theirs[:, 0]], dim=1)
    assert torch.equal(state["backbones.pose.stem.conv.weight"], expected)
    assert report.adapted == {"backbone.conv1.conv.weight": "2 of 3 joints from the file's 5, 1 new"}


def test_names_make_the_list():
    assert match_names(["nose", "Left Wrist", "neck"], ["nose", "left_eye", "left-wrist"]) == [0, 2, None]
    with pytest.raises(MgkitError, match="a_b, ab occur more than once"):
        match_names(["a_b", "c", "ab"], ["a"])


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"classes": [0, 1]}, "classes= has 2 entries, but the model 3 classes"),
        ({"classes": [0, 1, 4]}, "classes= has 4, but the file's classes are 0 to 3"),
        ({"classes": [0, 1, -1]}, "classes= has -1"),
        ({"classes": [0, 1, 1.0]}, r"classes= has 1\.0"),
        ({"classes": "all"}, "a list of indices or 'new', not 'all'"),
        ({"joints": [0] * 6}, "joints= has 6 entries, but the model 5 joints"),
        ({"joints": [0, 1, 2, 3, "nose"]}, "joints= has 'nose'"),
    ],
)
def test_wrong_mappings_are_explained(mapping, message):
    with pytest.raises(MgkitError, match=message):
        from_mmaction2(
            to_mmaction2(pose_only(4, 5, width=2)),
            pose_only(3, 5, width=2),
            **{"classes": [0, 1, 2], **mapping},
        )


def test_mappings_of_what_is_not_there_are_explained():
    published = to_mmaction2(rgb_only(4, width=2, embedding_dim=None))
    with pytest.raises(MgkitError, match="this one has none"):
        from_mmaction2(published, rgb_only(4, width=2), joints="new")
    backbone = {name: value for name, value in published.items() if name.startswith("backbone.")}
    with pytest.raises(MgkitError, match="it has no classifier: give classes='new'"):
        from_mmaction2(backbone, rgb_only(3, width=2), classes=[0, 1, 2])


# Variants of names


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"module.module.{name}",
        lambda name: name.removeprefix("backbone."),
        lambda name: f"module.{name.removeprefix('backbone.')}",
    ],
)
@pytest.mark.parametrize("build", [lambda: pose_only(4, 5, width=2), lambda: two_pathway(4, 5, **TINY)])
def test_wrapped_and_bare_names(rename, build):
    old, model = build(), build()
    published = {rename(name): value for name, value in to_mmaction2(old).items()}
    state, report = from_mmaction2(published, model)
    assert report.used == tuple(published)
    assert all(torch.equal(state[name], value) for name, value in old.state_dict().items())


def test_a_backbone_alone_and_heads_of_other_names():
    model, old = rgb_only(4, width=2), to_mmaction2(rgb_only(4, width=2, embedding_dim=None))
    published = {name: value for name, value in old.items() if name.startswith("backbone.")}
    published |= {"cls_head.projection.weight": torch.zeros(9, 3), "data_preprocessor.mean": torch.zeros(3)}
    state, report = from_mmaction2(published, model)
    assert report.left == {
        "cls_head.projection.weight": "a head that the model does not have",
        "data_preprocessor.mean": "nothing in the model corresponds to it",
    }
    assert report.initialised == tuple(name for name in state if name.startswith("heads."))


def test_a_weight_given_twice_is_said():
    published = to_mmaction2(rgb_only(4, width=2))
    published["module.cls_head.fc_cls.bias"] = torch.ones(4)
    state, report = from_mmaction2(published, rgb_only(4, width=2))
    assert report.left == {"module.cls_head.fc_cls.bias": "the file has that weight twice"}
    assert torch.equal(state["heads.rgb.classifier.bias"], torch.zeros(4))


def test_files_from_before_batches_were_counted():
    published = {n: v for n, v in to_mmaction2(rgb_only(4, width=2)).items() if "num_batches" not in n}
    _, report = from_mmaction2(published, rgb_only(4, width=2))
    assert all(name.endswith("num_batches_tracked") for name in report.initialised)


def test_a_2d_resnet_is_spread_over_time():
    """On a clip of one repeated image, the 3D network computes what the 2D one computes on the image."""
    resnet = pytest.importorskip("torchvision.models.resnet")
    image_net = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=10)
    for module in image_net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    model = rgb_only(4, blocks=(1, 1, 1, 1)).eval()
    state, report = from_mmaction2(image_net.state_dict(), model)
    model.load_state_dict(state)
    assert report.left == dict.fromkeys(["fc.weight", "fc.bias"], "a head that the model does not have")
    assert all(name.startswith("heads.") for name in report.initialised)
    assert report.adapted["layer4.0.conv1.weight"] == "2D kernels spread over time"
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    image_net.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = image_net.eval()(image)
        features = model({"rgb": image[:, :, None].expand(-1, -1, 5, -1, -1)})["rgb"].features
    # Two blocks look one frame each way: of five frames the middle one does not see the clip's ends.
    torch.testing.assert_close(features[:, :, 2].mean(dim=(2, 3)), expected, atol=1e-5, rtol=1e-4)


# Files


def randomise(model):
    """Random weights and BatchNorm statistics, so that nothing hides behind a zero initialisation."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5, generator=generator) if "running_var" in name else value.normal_(
                    std=0.1, generator=generator
                )
            else:
                value.fill_(7)
    return model.eval()


def saved(tmp_path, name, content):
    torch.save(content, tmp_path / name)
    return tmp_path / name


KINDS = {
    "two pathways with fusion": lambda: two_pathway(4, 5, **TINY),
    "two pathways without": lambda: two_pathway(4, 5, fusion=None, embedding_dim=None, **TINY),
    "rgb": lambda: rgb_only(4, **TINY_RGB),
    "pose": lambda: pose_only(4, 5, **TINY_POSE),
    "pose that halves time": lambda: pose_only(4, 5, halve_time=True, **TINY_POSE),
    "both halve time": lambda: two_pathway(4, 5, halve_time=True, fusion="time", **TINY),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_written_and_loaded_again(tmp_path, kind):
    model, other = randomise(KINDS[kind]()), KINDS[kind]()
    write_published(tmp_path / "mine.pth", model, meta={"epoch": 3})
    content = torch.load(tmp_path / "mine.pth", weights_only=True)
    assert content["meta"] == {"made_by": "mgkit", "epoch": 3}
    assert list(content["state_dict"]) == list(to_mmaction2(model))
    assert all(value.is_contiguous() for value in content["state_dict"].values())
    report = load_published(tmp_path / "mine.pth", other)
    assert report.left == {"meta": "not weights"}
    assert not report.initialised
    assert not report.adapted
    assert all(torch.equal(model.state_dict()[name], value) for name, value in other.state_dict().items())
    loaded = load_published(
        saved(tmp_path, "own.pt", {"model": model.state_dict(), "epoch": 3}), KINDS[kind]()
    )
    assert len(loaded.used) == len(model.state_dict())


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MgkitError, match="cannot be written"):
        write_published(tmp_path / "file" / "mine.pth", rgb_only(4, width=2))


def test_a_failed_load_names_the_file_and_changes_nothing(tmp_path):
    model = pose_only(7, 5, **TINY_POSE)
    objective = Objective(model.pathways, 7, 256)
    before = [value.clone() for value in (*model.state_dict().values(), *objective.state_dict().values())]
    path = tmp_path / "other.pth"
    write_published(path, pose_only(4, 5, **TINY_POSE), objective=Objective(("pose",), 4, 256))
    with pytest.raises(MgkitError, match=rf"^{re.escape(str(path))}: the weights do not fit"):
        load_published(path, model, objective=objective)
    torch.save(
        {"state_dict": {**to_mmaction2(model), "cls_head.fr_pose.spatio_cl_net.avg_f": torch.zeros(9, 7)}},
        path,
    )
    with pytest.raises(MgkitError, match=r"avg_f holds prototypes .* \(7, 9\).*\(7, 256\).*embedding_dim"):
        load_published(path, model, objective=objective)
    after = (*model.state_dict().values(), *objective.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


# Prototypes


def trained_objective(pathways, classes):
    objective = Objective(pathways, classes, 256, generator=torch.Generator().manual_seed(5))
    for refinement in objective.refinement.values():
        refinement.updates.copy_(torch.arange(classes))
    return objective


@pytest.mark.parametrize("prefix", ["", "module."])
def test_prototypes_under_published_names(tmp_path, prefix):
    model, objective = two_pathway(3, 5, **TINY), Objective(("rgb", "pose"), 3, 256)
    own = objective.refinement["pose"].prototypes.clone()
    published = to_mmaction2(two_pathway(4, 5, **TINY))
    published["cls_head.fr_rgb.spatio_cl_net.avg_f"] = bank = torch.randn(256, 4)
    published["cls_head.fr_coarse_rgb.spatio_cl_net.cl_fc.weight"] = torch.randn(128, 8)
    path = saved(tmp_path, "pcan.pth", {"state_dict": {prefix + n: v for n, v in published.items()}})
    report = load_published(path, model, objective=objective, classes=[1, None, 0])
    assert torch.equal(objective.refinement["rgb"].prototypes[[0, 2]], bank.T[[1, 0]])
    assert objective.refinement["rgb"].updates.tolist() == [1, 0, 1]
    assert torch.equal(objective.refinement["pose"].prototypes, own)
    assert report.adapted[f"{prefix}cls_head.fr_rgb.spatio_cl_net.avg_f"] == (
        "2 of 3 classes from the file's 4, 1 new; each prototype counts as updated once"
    )
    assert report.initialised == ("prototypes of pose",)
    coarse = f"{prefix}cls_head.fr_coarse_rgb.spatio_cl_net.cl_fc.weight"
    assert report.left == {coarse: "a head that the model does not have"}
    without = load_published(path, model, classes="new")
    assert "give objective=" in without.left[f"{prefix}cls_head.fr_rgb.spatio_cl_net.avg_f"]
    fresh = load_published(path, model, objective=objective, classes="new")
    assert fresh.left[f"{prefix}cls_head.fr_rgb.spatio_cl_net.avg_f"] == "the classes are new"


@pytest.mark.parametrize("ours", [False, True])
def test_our_own_prototypes_keep_their_counts(tmp_path, ours):
    model, objective = pose_only(4, 5, **TINY_POSE), trained_objective(("pose",), 4)
    path = tmp_path / "mine.pth"
    if ours:
        state = {"model": model.state_dict(), "objective": objective.state_dict()}
        torch.save({"format": 1, "epoch": 3, **state}, path)
    else:
        write_published(path, model, objective=objective)
    other = Objective(("pose",), 4, 256)
    report = load_published(path, pose_only(4, 5, **TINY_POSE), objective=other)
    assert set(report.left) == ({"format", "epoch"} if ours else {"meta"})
    for name, value in objective.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    fewer = Objective(("pose",), 2, 256)
    load_published(path, pose_only(2, 5, **TINY_POSE), objective=fewer, classes=[3, None])
    assert fewer.refinement["pose"].updates.tolist() == [3, 0]
    assert torch.equal(fewer.refinement["pose"].prototypes[0], objective.refinement["pose"].prototypes[3])


# Merging


@pytest.mark.slow
@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("laterals", [True, False])
@pytest.mark.parametrize("fusion", [None, "channel", "time"])
def test_two_files_merge_into_their_late_fusion(tmp_path, laterals, fusion, ours):
    rgb, pose = randomise(rgb_only(4, **TINY_RGB)), randomise(pose_only(4, 5, **TINY_POSE))
    files = {"rgb": tmp_path / "rgb.pth", "pose": tmp_path / "pose.pth"}
    for name, branch in (("rgb", rgb), ("pose", pose)):
        if ours:
            torch.save({"model": branch.state_dict(), "epoch": 1}, files[name])
        else:
            write_published(files[name], branch)
    model = two_pathway(4, 5, laterals=laterals, fusion=fusion, **TINY).eval()
    report = load_published(files, model)
    generator = torch.Generator().manual_seed(1)
    inputs = {
        "rgb": torch.randn(2, 3, 2, 24, 24, generator=generator),
        "pose": torch.rand(2, 5, 8, 6, 6, generator=generator),
    }
    with torch.no_grad():
        merged, alone = model(inputs), {**rgb(inputs), **pose(inputs)}
    for name in ("rgb", "pose"):
        # Not to the bit with laterals: the longer sums over zero-padded channels may be grouped differently.
        tolerance = {"atol": 1e-6, "rtol": 1e-6} if laterals else {"atol": 0, "rtol": 0}
        torch.testing.assert_close(merged[name].logits, alone[name].logits, **tolerance)
        torch.testing.assert_close(merged[name].embedding, alone[name].embedding, **tolerance)
    assert len(report.adapted) == (8 if laterals else 0)
    assert len(report.used) == len(rgb.state_dict()) + len(pose.state_dict())
    assert {name.split(":")[0] for name in report.used} == {"rgb", "pose"}
    assert any(name.startswith("fusion.") for name in report.initialised) == (fusion is not None)


def test_merging_adapts_classes_joints_and_prototypes(tmp_path):
    rgb, pose = rgb_only(400, **TINY_RGB), pose_only(60, 17, **TINY_POSE)
    write_published(tmp_path / "pose.pth", pose, objective=trained_objective(("pose",), 60))
    files = {"rgb": saved(tmp_path, "rgb.pth", rgb.state_dict()), "pose": tmp_path / "pose.pth"}
    model, objective = two_pathway(2, 3, **TINY), Objective(("rgb", "pose"), 2, 256)
    report = load_published(files, model, objective=objective, classes=[50, None], joints=[16, None, 0])
    stem = model.backbones["pose"].stem.conv.weight
    assert torch.equal(stem[:, 2], pose.backbones["pose"].stem.conv.weight[:, 0])
    assert torch.equal(model.heads["rgb"].classifier.weight[0], rgb.heads["rgb"].classifier.weight[50])
    assert objective.refinement["pose"].updates.tolist() == [50, 0]
    assert "rgb: prototypes of rgb" in report.initialised
    load_published(files, model, classes={"rgb": "new", "pose": [59, 0]}, joints="new")
    assert torch.equal(model.heads["pose"].classifier.weight, pose.heads["pose"].classifier.weight[[59, 0]])
    assert torch.equal(model.heads["rgb"].classifier.weight[0], rgb.heads["rgb"].classifier.weight[50])
    with pytest.raises(MgkitError, match="for one file give one list"):
        load_published(files["pose"], model, classes={"pose": "new"})
    with pytest.raises(MgkitError, match="is for 'rgb' and 'pose'; got 'rbg'"):
        load_published(files, model, classes={"rbg": "new"}, joints="new")
    with pytest.raises(MgkitError, match=r"has no rgb pathway: build it with pathways=model\.pathways"):
        load_published(files, model, objective=Objective(("pose",), 2, 256), classes="new", joints="new")
    assert "adapted 8 (zero weights for the lateral's channels)" in str(report)


def test_merging_explains_what_is_wrong(tmp_path):
    write_published(tmp_path / "rgb.pth", rgb_only(4, **TINY_RGB))
    write_published(tmp_path / "pose.pth", pose_only(4, 7, **TINY_POSE))
    files = {"rgb": tmp_path / "rgb.pth", "pose": tmp_path / "pose.pth"}
    model = two_pathway(4, 5, **TINY)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(MgkitError, match=r"pose\.pth: the weights do not fit.*joints="):
        load_published(files, model)
    with pytest.raises(MgkitError, match=r"pose\.pth: the file is of another architecture"):
        load_published({"rgb": files["pose"], "pose": files["rgb"]}, model)
    with pytest.raises(MgkitError, match="an 'rgb' and a 'pose' file into a two-pathway model; got rgb for"):
        load_published({"rgb": files["rgb"]}, model)
    with pytest.raises(MgkitError, match="for SinglePathway"):
        load_published(files, rgb_only(4, **TINY_RGB))
    with pytest.raises(MgkitError, match="no checkpoint"):
        load_published({**files, "pose": tmp_path / "absent.pth"}, model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_another_part_of_the_file(tmp_path):
    old, ema = rgb_only(4, **TINY_RGB), randomise(rgb_only(4, **TINY_RGB))
    averaged = {"steps": torch.tensor(3), **{f"module.{n}": v for n, v in to_mmaction2(ema).items()}}
    path = saved(tmp_path, "a.pth", {"state_dict": to_mmaction2(old), "ema_state_dict": averaged})
    model = rgb_only(4, **TINY_RGB)
    report = load_published(path, model, part="ema_state_dict")
    assert torch.equal(model.heads["rgb"].classifier.weight, ema.heads["rgb"].classifier.weight)
    assert report.left["steps"] == "nothing in the model corresponds to it"
    assert report.left["state_dict"] == "other weights: part='state_dict' takes them"
