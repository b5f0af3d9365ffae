"""Every system of the comparison goes the one way: trained, tested, explained, resumed, by the same calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.data.batches.dataset import ClipDataset
from mgkit.data.batches.device import batch_inputs
from mgkit.data.batches.loader import collate
from mgkit.data.clips import Clips
from mgkit.data.skeletons import BODY25, COCO17, IMIGUE22, KINECT25, PENN13, Skeleton
from mgkit.errors import MgkitError
from mgkit.models import load_published, match_names, recompute_blocks, write_published
from mgkit.models.layers import freeze_statistics
from mgkit.training import recipes
from mgkit.training.build import (
    build_model,
    build_objective,
    embedding_widths,
)
from mgkit.training.checkpoints import load_checkpoint
from mgkit.training.explain import explain, over_skeleton
from mgkit.training.inference import test as run_test
from mgkit.training.machine import make_optimizer
from mgkit.training.recipe import Recipe
from tests.tiny import CLASSES, TRIANGLE, tiny_clips
from tests.training.training import assert_same_weights, fit, states

# With refinement, which each of them can have.
TINY: dict[str, Any] = {
    "epochs": 2, "batch_size": 4, "embedding_dim": 8, "warmup_epochs": 0, "prototypes": True, "flip": 0.5
}  # fmt: skip
SMALL_POSE: dict[str, Any] = {
    **TINY,
    "pose_frames": 8,
    "width": 8,
    "blocks": (1, 1),
    "learning_rate": 0.05,
}
SMALL_RGB: dict[str, Any] = {**TINY, "rgb_frames": 2, "rgb_size": 32, "width": 4, "blocks": (1, 1)}
SMALL_TRANSFORMER: dict[str, Any] = {
    **TINY,
    "rgb_frames": 2,
    "rgb_size": 32,
    "drop_path": 0.1,
    "learning_rate": 1e-3,
}
SMALL_CNN: dict[str, Any] = {
    **TINY, "pose_frames": 8, "heatmap_size": 8, "pose_width": 4, "pose_blocks": (1, 1), "learning_rate": 0.02
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 3, "val": 1, "test": 2})


def systems() -> dict[str, Recipe]:
    graph = ("stgcn", "stgcnpp", "stgcnpp_strong", "aagcn", "ctrgcn", "dgstgcn")
    found = {name: recipes.narrow(getattr(recipes, name)(), **SMALL_POSE) for name in graph}
    wide = {**SMALL_POSE, "width": 24}
    return {
        **found,
        "bones": recipes.narrow(recipes.ctrgcn(stream="bone-motion", persons=2), **SMALL_POSE),
        "hyperformer": recipes.narrow(recipes.hyperformer(), **wide),
        "ehct": recipes.narrow(recipes.ehct(groups=2), **wide),
        "tsm": recipes.narrow(recipes.tsm(), **SMALL_RGB),
        "video_swin": recipes.narrow(recipes.video_swin_tiny(), **SMALL_RGB),
        "videomae": recipes.narrow(recipes.videomae_small(), **SMALL_TRANSFORMER, width=12),
        "vjepa2": recipes.narrow(recipes.vjepa2_large(), **SMALL_TRANSFORMER, width=12, pool_blocks=1),
        "videoprism": recipes.narrow(recipes.videoprism_base(), **SMALL_TRANSFORMER, width=12),
        "mvit_v2": recipes.narrow(recipes.mvit_v2_small(), **SMALL_TRANSFORMER, width=4, blocks=(1, 1)),
        "semantic": recipes.narrow(recipes.poseconv3d_semantic("names", semantic_dim=4), **SMALL_CNN),
        "limbs": recipes.narrow(recipes.poseconv3d_semantic("names", semantic_dim=4, heatmap="limb"), **SMALL_CNN),
    }  # fmt: skip


SYSTEMS = systems()


def made(recipe: Recipe, seed: int = 0) -> tuple[Any, Any]:
    """Network and loss of a recipe for four classes of triangles."""
    generator, counts = torch.Generator().manual_seed(seed), np.array([9, 3, 2, 1])
    inputs = recipe.inputs.on(TRIANGLE)
    model = build_model(recipe, 4, inputs, generator, counts)
    objective = build_objective(
        recipe,
        4,
        embedding_widths(recipe, model, inputs),
        generator,
        class_counts=counts,
        class_names=CLASSES.names,
    )
    return model, objective


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_it_goes_the_one_way(name: str, clips: Clips, tmp_path: Path) -> None:
    recipe = SYSTEMS[name]
    run = fit(clips, recipe, tmp_path / "run")
    (output,) = run.outputs
    predictions = run_test(run, "test", views=2, flip=True, device="cpu", workers=0, progress=False)
    assert predictions.clip_ids == clips.split("test").ids
    np.testing.assert_allclose(predictions.probabilities[output].sum(1), 1, atol=1e-5)
    embeddings = run.embeddings("test")
    assert embeddings.vectors[output].shape == (8, 8)
    assert list(run.prototypes().vectors) == [output]
    history = run.history()
    assert {"loss", f"loss_ce_{output}", f"loss_pr_{output}", f"val_top1_{output}"} <= set(history)
    assert np.isfinite(history["loss"]).all()
    extra = {"ehct": "loss_groups_pose", "semantic": "loss_semantic_pose", "limbs": "loss_semantic_pose"}.get(
        name
    )
    assert extra is None or (history[extra] > 0).all()
    saliency = explain(run, "test", device="cpu", workers=0, progress=False)
    assert len(saliency) == 8
    again = run_test(run, "test", views=2, flip=True, batch_size=3, device="cpu", workers=0, progress=False)
    np.testing.assert_allclose(
        again.probabilities[output], predictions.probabilities[output], atol=2e-6
    )  # whatever the batch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ehct", "video_swin", "videomae", "semantic"])
def test_a_stopped_training_ends_as_one_that_was_not(name: str, clips: Clips, tmp_path: Path) -> None:
    """The group of each class, the class vectors and AdamW's moments are in the checkpoint."""
    whole = fit(clips, SYSTEMS[name], tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        from mgkit.training import loop

        real, calls = loop.batch_inputs, 0

        def stopped(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 5:
                raise KeyboardInterrupt
            return real(*arguments)

        patch.setattr(loop, "batch_inputs", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit(clips, SYSTEMS[name], tmp_path / "parts", checkpoint_minutes=0)
    assert_same_weights(whole, fit(clips, SYSTEMS[name], tmp_path / "parts", checkpoint_minutes=0))


@pytest.mark.slow
def test_a_narrow_videomae_learns_from_nothing(clips: Clips, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"prototypes": False, "drop_path": 0.0, "dropout": 0.0, "label_smoothing": 0.0}
    changes |= {"epochs": 20, "learning_rate": 6e-3, "width": 24}
    run = fit(clips, SYSTEMS["videomae"].with_(**changes), tmp_path / "run")
    loss = run.history()["loss"].to_numpy()
    assert loss[-1] < 0.7 * loss[0]


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["difference", "taylor", "magnify"])
def test_a_video_transformer_is_fed_the_stream_throughout(stream: str, clips: Clips, tmp_path: Path) -> None:
    """In training, in testing and where its decisions are explained; frames give the same weights other scores."""
    recipe = SYSTEMS["videomae"].with_(rgb_stream=stream, epochs=1)
    run = fit(clips, recipe, tmp_path / "run")
    found = run_test(run, "test", device="cpu", workers=0, progress=False)
    model = made(recipe)[0].eval()
    model.load_state_dict(load_checkpoint(run.checkpoint("best"))["model"])
    test, scores = clips.split("test"), []
    for inputs in (recipe.inputs, recipe.with_(rgb_stream="frames").inputs):
        dataset = ClipDataset(test, inputs, training=False)
        batch = collate([dataset[0, position, 0] for position in range(len(test))])
        with torch.no_grad():
            scores.append(model(batch_inputs(batch, inputs, clips.skeleton))["rgb"].logits.softmax(1).numpy())
    np.testing.assert_allclose(found.scores("rgb"), scores[0], atol=1e-5)
    assert np.abs(found.scores("rgb") - scores[1]).max() > 1e-4
    saliency = explain(run, "test", device="cpu", workers=0, progress=False)
    assert saliency.clip_ids == test.ids


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_process_without_a_clip_of_the_batch_takes_part(name: str) -> None:
    recipe = SYSTEMS[name]
    model, objective = made(recipe)
    freeze_statistics(model.train())
    inputs = {key: torch.zeros(0, *shape) for key, shape in recipe.inputs.on(TRIANGLE).shapes.items()}
    result = objective(model(inputs), torch.zeros(0, dtype=torch.int64), torch.tensor([1, 2]))
    result.loss.backward()
    assert result.loss.item() == 0
    assert not [key for key, value in model.named_parameters() if value.grad is None or value.grad.any()]


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_blocks_that_are_computed_again_change_nothing(name: str) -> None:
    recipe, steps = SYSTEMS[name], []
    for saving in (False, True):
        model = made(recipe)[0].train()
        if saving:
            recompute_blocks(model)
        inputs = {
            key: torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
            for key, shape in recipe.inputs.on(TRIANGLE).shapes.items()
        }
        torch.manual_seed(0)  # of dropout and of blocks that are skipped
        (output,) = model(inputs).values()
        output.logits.square().sum().backward()
        steps.append((model, output.logits))
    (one, plain), (two, saved) = steps
    assert torch.equal(plain, saved)
    for (key, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), key
        assert a.grad is None or b.grad is None or torch.equal(a.grad, b.grad), key
    for (key, x), y in zip(one.named_buffers(), two.buffers(), strict=True):
        assert torch.equal(x, y), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ctrgcn", "ehct", "tsm", "semantic"])
def test_without_refinement_there_is_no_loss_of_it(name: str, clips: Clips, tmp_path: Path) -> None:
    recipe = SYSTEMS[name].with_(prototypes=False, epochs=1)
    run = fit(clips, recipe, tmp_path / "run")
    assert not [column for column in run.history() if column.startswith("loss_pr")]


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_weights_go_out_under_published_names_and_come_back(name: str, tmp_path: Path) -> None:
    source, objective = made(SYSTEMS[name])
    model, other = made(SYSTEMS[name], seed=1)
    write_published(tmp_path / "file.pth", source, objective=objective)
    report = load_published(tmp_path / "file.pth", model, objective=other)
    inside = [key for key in source.state_dict() if key.startswith("backbones.") or ".classifier." in key]
    for key in inside:
        assert torch.equal(model.state_dict()[key], source.state_dict()[key]), key
    assert not [key for key in report.initialised if key in inside]
    (output,) = model.pathways
    assert torch.equal(other.refinement[output].prototypes, objective.refinement[output].prototypes)


def test_a_skeleton_network_of_another_layout_keeps_its_own_graph(tmp_path: Path) -> None:
    recipe = SYSTEMS["ctrgcn"]
    source = build_model(recipe, 4, recipe.inputs.on(IMIGUE22), torch.Generator().manual_seed(0))
    model = build_model(recipe, 4, recipe.inputs.on(TRIANGLE), torch.Generator().manual_seed(1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    write_published(tmp_path / "file.pth", source)
    with pytest.raises(MgkitError, match="shapes differ in"):
        load_published(tmp_path / "file.pth", model)
    report = load_published(tmp_path / "file.pth", model, joints="new")
    assert set(report.left.values()) == {"the joints are new", "not weights"}
    for key, value in model.state_dict().items():
        same_shape = source.state_dict()[key].shape == value.shape
        assert torch.equal(value, source.state_dict()[key] if same_shape else before[key]), key
    for wrong, why in (([0, 1], "has 2 entries"), ([0, 1, 22], "are 0 to 21")):
        with pytest.raises(MgkitError, match=why):
            load_published(tmp_path / "file.pth", model, joints=wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stgcn", "stgcnpp", "aagcn", "ctrgcn", "dgstgcn", "hyperformer"])
def test_joints_of_the_same_name_keep_their_place_in_a_skeleton_network(name: str, tmp_path: Path) -> None:
    """Joint by joint and pair by pair: entries of shared joints are the file's, all others the model's."""
    source, model = (
        build_model(SYSTEMS[name], 4, SYSTEMS[name].inputs.on(skeleton), torch.Generator().manual_seed(seed))
        for seed, skeleton in enumerate((IMIGUE22, PENN13))
    )
    for number, value in enumerate(source.state_dict().values()):
        if value.is_floating_point():  # nothing is as it was at first, graphs and statistics included
            value += 0.01 * torch.arange(value.numel(), dtype=value.dtype).reshape(value.shape).sin() + number
    before = {key: value.clone() for key, value in model.state_dict().items()}
    theirs, joints = source.state_dict(), match_names(PENN13.joints, IMIGUE22.joints)
    write_published(tmp_path / "file.pth", source)
    report = load_published(tmp_path / "file.pth", model, joints=joints)
    assert any("of 13 joints from the file's 22" in note for note in report.adapted.values())
    for key, value in model.state_dict().items():
        kind = key.rpartition(".")[2]
        fixed = key == "backbones.pose.A" or (name == "stgcn" and kind == "A")
        other_hops = kind == "rpe" and value.shape != theirs[key].shape
        if fixed or other_hops or key.endswith("conv_sa.weight"):
            assert torch.equal(value, before[key]), key
        elif kind in ("A", "PA", "outer"):
            for i, a in enumerate(joints):
                for j, b in enumerate(joints):
                    wanted = before[key][..., i, j] if None in (a, b) else theirs[key][..., a, b]
                    assert torch.equal(value[..., i, j], wanted), (key, i, j)
        elif "data_bn" in key and value.ndim:
            for i, a in enumerate(joints):
                part = slice(3 * i, 3 * i + 3)
                wanted = before[key][part] if a is None else theirs[key][3 * a : 3 * a + 3]
                assert torch.equal(value[part], wanted), (key, i)
        elif kind == "add_coeff":
            for i, a in enumerate([*joints, *[None] * (len(value) - len(joints))]):
                assert value[i] == (before[key][i] if a is None else theirs[key][a]), (key, i)
        else:
            assert torch.equal(value, theirs[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stgcn", "stgcnpp", "aagcn", "ctrgcn", "dgstgcn", "hyperformer"])
def test_a_layout_of_as_many_joints_is_another_layout(name: str, tmp_path: Path) -> None:
    """Two of 25 joints: what has an entry a joint keeps the model's, though it would fit; all else is the file's."""
    source, model = (
        build_model(SYSTEMS[name], 4, SYSTEMS[name].inputs.on(skeleton), torch.Generator().manual_seed(seed))
        for seed, skeleton in enumerate((KINECT25, BODY25))
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    write_published(tmp_path / "file.pth", source)
    report = load_published(tmp_path / "file.pth", model, joints="new")
    bound = [key for key, why in report.left.items() if why == "the joints are new"]
    assert bound
    assert {key.rpartition(".")[0].rpartition(".")[2] for key in bound if "data_bn" in key} == {"data_bn"}
    for key, value in model.state_dict().items():
        published = key.replace("backbones.pose.", "backbone.")
        assert torch.equal(value, before[key] if published in bound else source.state_dict()[key]), key
        joints = value.ndim and 25 in value.shape and "backbones" in key
        assert not joints or published in bound, key  # a matrix or a row of the joints


@pytest.mark.slow
def test_a_training_starts_from_a_file(clips: Clips, tmp_path: Path) -> None:
    recipe = SYSTEMS["stgcnpp"].with_(epochs=1)
    source = build_model(recipe, 9, recipe.inputs.on(clips.skeleton), torch.Generator().manual_seed(5))
    write_published(tmp_path / "file.pth", source)
    from mgkit.training.start import Weights

    run = fit(clips, recipe, tmp_path / "run", start={"all": Weights(tmp_path / "file.pth", classes="new")})
    assert "used" in (run.root / "start.txt").read_text()
    with pytest.raises(MgkitError, match="classes"):
        fit(clips, recipe, tmp_path / "other", start={"all": tmp_path / "file.pth"})


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stream": "bone"}, "stream is 'bone', but it is a setting of keypoints"),
        ({"reads": ("keypoints",), "heatmap": "limb"}, "heatmap is 'limb', but it is a setting of heatmaps"),
        ({"reads": ("keypoints",), "stream": "bones"}, "stream is 'bones'"),
        ({"reads": ("keypoints",), "persons": 0}, "persons is 0"),
        ({"reads": ("heatmaps", "keypoints")}, "reads is"),
        ({"reads": ("pictures",)}, "reads is"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov"),
        ({"nesterov": True, "optimizer": "adamw"}, "nesterov"),
        ({"optimizer": "adam"}, "optimizer is 'adam'; use 'sgd' or 'adamw'"),
        ({"rotation": 200.0}, "rotation is 200.0; use a number, 0 to 180"),
        ({"pose_blocks": 3}, "two_pathway: pose_blocks is 3; use a list"),
        ({"width": 3}, r"no setting 'width': did you mean .*rgb_width"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        Recipe("mgkit.models:two_pathway", **changes)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        *[(name, {"width": 1}, "width=1, .* width of at least")
          for name in ("aagcn", "ctrgcn", "dgstgcn")],
        ("stgcnpp", {"width": 1}, "width=1, .*: raise width"),
        ("hyperformer", {"width": 100}, "width=100, .* a multiple of 12"),
        ("video_swin", {"width": 100}, "width=100, .* divided among 3 heads"),
        ("stgcn", {"pose_frames": 1, "batch_size": 11}, "pose_frames=1.* at least 1 clip.* more than 1 value"),
        ("limbs", {"pose_blocks": ()}, "pose_blocks=.*blocks"),
        ("limbs", {"pose_blocks": (2, -1)}, "pose_blocks=.*blocks"),
        ("stgcn", {"embedding_pool": ("mean", "sum")}, "embedding_pool is how to pool"),
        ("ehct", {"groups": 5}, "4 classes make 1 to 4 groups; got groups=5"),
        ("ctrgcn", {"persons": 50}, "persons is 50, but no clip shows more than 1"),
        ("semantic", {"vectors": "no_such_file.txt"}, "no file of word vectors no_such_file.txt"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused_before_anything_is_written(
    name: str, changes: dict[str, Any], message: str, clips: Clips, tmp_path: Path
) -> None:
    state = torch.get_rng_state()
    with pytest.raises(MgkitError, match=message):
        fit(clips, SYSTEMS[name].with_(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_optimiser_has_the_groups_of_the_recipe() -> None:
    recipe = SYSTEMS["video_swin"].with_(backbone_rate=0.1)
    model = build_model(recipe, 4, recipe.inputs)
    optimizer = make_optimizer(model, recipe.optimisation, torch.device("cpu"))
    assert isinstance(optimizer, torch.optim.AdamW)
    names = {id(value): name for name, value in model.named_parameters()}
    seen = {}
    for group in optimizer.param_groups:
        for value in group["params"]:
            seen[names[id(value)]] = group.get("factor", 1.0), group["weight_decay"]
    assert seen.keys() == dict(model.named_parameters()).keys()
    assert seen["heads.rgb.classifier.weight"] == (1.0, 0.05)
    assert seen["heads.rgb.classifier.bias"] == (1.0, 0.0)
    table = next(name for name in seen if "relative_position_bias_table" in name)
    assert seen[table] == (0.1, 0.0)
    assert seen["backbones.rgb.patch_embed.proj.weight"] == (0.1, 0.05)
    assert seen["backbones.rgb.norm.weight"] == (0.1, 0.0)


def test_the_fusion_module_learns_at_its_own_rate() -> None:
    recipe = recipes.demo(backbone_rate=0.5, **{"fusion.rate": 0.1, "fusion.bounded": True})
    model = build_model(recipe, 4, recipe.inputs.on(TRIANGLE))
    groups = make_optimizer(model, recipe.optimisation, torch.device("cpu")).param_groups
    factors = {id(value): group.get("factor", 1.0) for group in groups for value in group["params"]}
    for name, value in model.named_parameters():
        wanted = 1.0 if name.startswith("heads.") else 0.05 if "project_" in name or "gate_" in name else 0.5
        assert "attend" in name or factors[id(value)] == pytest.approx(wanted), name


def test_the_backbone_learns_at_its_own_rate(clips: Clips, tmp_path: Path) -> None:
    frozen = SYSTEMS["ctrgcn"].with_(backbone_rate=0.0, epochs=1)
    run = fit(clips, frozen, tmp_path / "run")
    g = torch.Generator().manual_seed(0)
    begin = build_model(frozen, 4, frozen.inputs.on(clips.skeleton), g, np.full(4, 3))
    parameters = dict(begin.named_parameters())
    for name, value in states(run)[0].items():
        if name in parameters:
            assert torch.equal(value, parameters[name]) == name.startswith("backbones."), name


@pytest.mark.slow
def test_class_vectors_are_part_of_the_run(
    clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vectors.txt"
    words = ["red", "blue", "still"]
    file.write_text("".join(f"{word} {i}.5 1.0 {i * i}.0\n" for i, word in enumerate(words)))
    recipe = SYSTEMS["semantic"].with_(vectors=str(file), semantic_dim=3, epochs=1)
    run = fit(clips, recipe, tmp_path / "run", progress=True)
    for said in (capsys.readouterr().err, (run.root / "loss_semantic.txt").read_text()):
        assert "red moving: without moving" in said
    saved = load_checkpoint(run.checkpoint("best"))["objective"]["losses.semantic.vectors"]
    np.testing.assert_allclose(saved.numpy()[0], [(0.5 + 2.5) / 2, 1.0, (0 + 4) / 2])  # "red still"
    file.write_text(file.read_text().replace("0.5", "0.25"))
    with pytest.raises(MgkitError, match="losses"):
        fit(clips, recipe, tmp_path / "run")
    file.unlink()
    run_test(run, "test", device="cpu", workers=0, progress=False)  # what was learnt does without the file
    with pytest.raises(MgkitError, match=r"vectors\.txt"):
        fit(clips, recipe, tmp_path / "other")


def test_vectors_of_another_width_are_refused_with_the_remedy(clips: Clips, tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="build the head with semantic_dim=4"):
        fit(clips, SYSTEMS["semantic"].with_(semantic_dim=300), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- what is explained ----------------------------------------------------------------------------------------------


def test_bones_give_half_to_each_end() -> None:
    g = torch.Generator().manual_seed(0)
    values = torch.rand(2, 2, 3, 3, 3, generator=g)
    sums = values.sum((1, 4)).numpy()
    np.testing.assert_allclose(over_skeleton(values, TRIANGLE, "joint").numpy(), sums, rtol=1e-6)
    found = over_skeleton(values, TRIANGLE, "bone").numpy()
    expected = np.zeros_like(sums)
    for joint, parent in enumerate(TRIANGLE.parents):
        expected[..., joint] += sums[..., joint] / 2
        expected[..., parent] += sums[..., joint] / 2
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["aagcn", "ctrgcn", "hyperformer"])
def test_weights_of_two_people_serve_one(name: str, tmp_path: Path) -> None:
    two = SYSTEMS[name].with_(persons=2)
    source, model = (
        build_model(recipe, 4, recipe.inputs.on(TRIANGLE), torch.Generator().manual_seed(seed)).eval()
        for seed, recipe in enumerate((two, SYSTEMS[name]))
    )
    torch.nn.init.normal_(source.get_parameter("backbones.pose.data_bn.bias"))
    write_published(tmp_path / "file.pth", source)
    report = load_published(tmp_path / "file.pth", model)
    assert set(report.adapted.values()) == {"of the file's 2 persons the first 1"}
    x = torch.rand(2, 2, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    found = model({"pose": x[:, :1]})["pose"].features
    torch.testing.assert_close(found, source({"pose": x})["pose"].features[..., :1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stgcn", "stgcnpp", "aagcn", "ctrgcn", "dgstgcn"])
def test_published_skeleton_files_start_a_training(name: str, reference_dir: Path, tmp_path: Path) -> None:
    """In PYSKL's layout, of two people and COCO's joints: for one person, other classes, another skeleton."""
    published = torch.load(reference_dir / f"{name}_tiny.pt", weights_only=True)["state_dict"]
    torch.save({"state_dict": published, "meta": {}}, tmp_path / "file.pth")
    recipe = getattr(recipes, name)(width=16, prototypes=False)
    tries: list[tuple[int, Skeleton, dict[str, Any]]] = [
        (32, COCO17, {}),
        (5, COCO17, {"classes": "new"}),
        (5, TRIANGLE, {"classes": "new", "joints": "new"}),
    ]
    for classes, skeleton, options in tries:
        g = torch.Generator().manual_seed(0)
        model = build_model(recipe, classes, recipe.inputs.on(skeleton), g)
        report = load_published(tmp_path / "file.pth", model, **options)
        for key, value in model.state_dict().items():
            name_there = key.replace("backbones.pose.", "backbone.")
            theirs = published.get(name_there)
            if name_there in report.left:  # of COCO's joints
                assert options.get("joints") == "new", key
            elif key.startswith("backbones.") and theirs is not None and theirs.shape == value.shape:
                assert torch.equal(value, theirs), key
        if not options:
            assert set(report.left) == {"meta"}
            assert not report.initialised or set(report.initialised) == {
                "heads.pose.embedding.weight",
                "heads.pose.embedding.bias",
            }
        cut = [why for why in report.adapted.values() if "persons" in why]
        assert bool(cut) == (name in ("aagcn", "ctrgcn") and skeleton is COCO17)
