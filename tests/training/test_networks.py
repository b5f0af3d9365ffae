"""Every system of the comparison goes the one way: trained, tested, explained, resumed, by the same calls."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.data.clips import Clips
from mgkit.data.skeletons import BODY25, COCO17, IMIGUE22, KINECT25, Skeleton
from mgkit.errors import MgkitError
from mgkit.models import load_published, recompute_blocks, write_published
from mgkit.models.layers import freeze_statistics
from mgkit.training import recipes
from mgkit.training.build import (
    build_model,
    build_objective,
    input_shapes,
    semantic_vectors,
    weigh_groups,
)
from mgkit.training.explain import explain, over_skeleton
from mgkit.training.inference import load_checkpoint
from mgkit.training.inference import test as run_test
from mgkit.training.machine import make_optimizer
from mgkit.training.recipes import Recipe
from tests.tiny import TRIANGLE, tiny_clips
from tests.training.training import assert_same_weights, fit, states

# With refinement, which each of them can have.
TINY: dict[str, Any] = {
    "epochs": 2, "batch_size": 4, "embedding_dim": 8, "warmup_epochs": 0, "prototypes": True, "flip": 0.5
}  # fmt: skip
SMALL_POSE: dict[str, Any] = {
    **TINY,
    "pose_frames": 8,
    "pose_width": 8,
    "pose_blocks": (1, 1),
    "learning_rate": 0.05,
}
SMALL_RGB: dict[str, Any] = {**TINY, "rgb_frames": 2, "rgb_size": 32, "rgb_width": 4, "rgb_blocks": (1, 1)}
SMALL_CNN: dict[str, Any] = {
    **TINY, "pose_frames": 8, "heatmap_size": 8, "pose_width": 4, "pose_blocks": (1, 1), "learning_rate": 0.02
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips"), counts={"train": 3, "val": 1, "test": 2})


def systems() -> dict[str, Recipe]:
    graph = ("stgcn", "stgcnpp", "stgcnpp_strong", "aagcn", "ctrgcn", "dgstgcn")
    found = {name: recipes.narrow(getattr(recipes, name)(), **SMALL_POSE) for name in graph}
    wide = {**SMALL_POSE, "pose_width": 24}
    return {
        **found,
        "bones": recipes.narrow(recipes.ctrgcn(stream="bone-motion", persons=2), **SMALL_POSE),
        "hyperformer": recipes.narrow(recipes.hyperformer(), **wide),
        "ehct": recipes.narrow(recipes.ehct(class_groups=2), **wide),
        "tsm": recipes.narrow(recipes.tsm(), **SMALL_RGB),
        "video_swin": recipes.narrow(recipes.video_swin_tiny(), **SMALL_RGB),
        "semantic": recipes.narrow(recipes.poseconv3d_semantic("names", semantic_dim=4), **SMALL_CNN),
        "limbs": recipes.narrow(recipes.poseconv3d_semantic("names", semantic_dim=4, heatmap="limb"), **SMALL_CNN),
    }  # fmt: skip


SYSTEMS = systems()


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


@pytest.mark.parametrize("name", ["ehct", "video_swin", "semantic"])
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


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_process_without_a_clip_of_the_batch_takes_part(name: str) -> None:
    recipe, counts = SYSTEMS[name], np.array([9, 3, 2, 1])
    g, channels = torch.Generator().manual_seed(0), SYSTEMS[name].input_spec().channels(TRIANGLE)
    model = build_model(recipe, 4, channels, g, skeleton=TRIANGLE, class_counts=counts)
    vectors = np.ones((4, recipe.semantic_dim), np.float32)
    objective = build_objective(recipe, 4, g, counts, vectors=vectors)
    freeze_statistics(model.train())
    inputs = {key: torch.zeros(0, *shape) for key, shape in input_shapes(recipe, TRIANGLE).items()}
    result = objective(model(inputs), torch.zeros(0, dtype=torch.int64), torch.tensor([1, 2]))
    result.loss.backward()
    assert result.loss.item() == 0
    assert not [key for key, value in model.named_parameters() if value.grad is None or value.grad.any()]


@pytest.mark.parametrize("name", SYSTEMS)
def test_blocks_that_are_computed_again_change_nothing(name: str) -> None:
    recipe, counts = SYSTEMS[name], np.array([9, 3, 2, 1])
    steps = []
    for saving in (False, True):
        g, channels = torch.Generator().manual_seed(0), recipe.input_spec().channels(TRIANGLE)
        model = build_model(recipe, 4, channels, g, skeleton=TRIANGLE, class_counts=counts).train()
        if saving:
            recompute_blocks(model)
        inputs = {
            key: torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
            for key, shape in input_shapes(recipe, TRIANGLE).items()
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


@pytest.mark.parametrize("name", ["ctrgcn", "ehct", "tsm", "semantic"])
def test_without_refinement_there_is_no_loss_of_it(name: str, clips: Clips, tmp_path: Path) -> None:
    recipe = dataclasses.replace(SYSTEMS[name], prototypes=False, epochs=1)
    run = fit(clips, recipe, tmp_path / "run")
    assert not [column for column in run.history() if column.startswith("loss_pr")]


@pytest.mark.parametrize("name", SYSTEMS)
def test_weights_go_out_under_published_names_and_come_back(name: str, tmp_path: Path) -> None:
    recipe, counts = SYSTEMS[name], np.array([9, 3, 2, 1])

    def made(seed: int) -> tuple[Any, Any]:
        g = torch.Generator().manual_seed(seed)
        channels = recipe.input_spec().channels(TRIANGLE)
        model = build_model(recipe, 4, channels, g, skeleton=TRIANGLE, class_counts=counts)
        return model, build_objective(
            recipe, 4, g, counts, vectors=np.ones((4, recipe.semantic_dim), np.float32)
        )

    source, objective = made(0)
    model, other = made(1)
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
    source = build_model(recipe, 4, 22, torch.Generator().manual_seed(0), skeleton=IMIGUE22)
    model = build_model(recipe, 4, 3, torch.Generator().manual_seed(1), skeleton=TRIANGLE)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    write_published(tmp_path / "file.pth", source)
    with pytest.raises(MgkitError, match="shapes differ in"):
        load_published(tmp_path / "file.pth", model)
    report = load_published(tmp_path / "file.pth", model, joints="new")
    assert set(report.left.values()) == {"the joints are new", "not weights"}
    for key, value in model.state_dict().items():
        same_shape = source.state_dict()[key].shape == value.shape
        assert torch.equal(value, source.state_dict()[key] if same_shape else before[key]), key
    with pytest.raises(MgkitError, match="joints= of a skeleton network is 'new'"):
        load_published(tmp_path / "file.pth", model, joints=[0, 1, 2])


def test_groups_that_came_with_the_weights_are_weighed() -> None:
    """A training on other clips begins from them: what was frequent there is rare here."""
    recipe, here, there = SYSTEMS["ehct"], np.array([9, 8, 2, 1]), np.array([1, 2, 8, 9])
    model = build_model(recipe, 4, 3, torch.Generator().manual_seed(0), skeleton=TRIANGLE, class_counts=there)
    objective = build_objective(recipe, 4, torch.Generator().manual_seed(0), here)
    weigh_groups(model, objective, here)
    assert model.heads["pose"].class_group.tolist() == [1, 1, 0, 0]
    np.testing.assert_allclose(objective.auxiliary["groups"].others.numpy(), [3 / 17, 1.0], rtol=1e-6)


@pytest.mark.parametrize("name", ["stgcn", "stgcnpp", "aagcn", "ctrgcn", "dgstgcn", "hyperformer"])
def test_a_layout_of_as_many_joints_is_another_layout(name: str, tmp_path: Path) -> None:
    """Two of 25 joints: what has an entry a joint keeps the model's, though it would fit; all else is the file's."""
    source, model = (
        build_model(SYSTEMS[name], 4, 25, torch.Generator().manual_seed(seed), skeleton=skeleton)
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


def test_a_training_starts_from_a_file(clips: Clips, tmp_path: Path) -> None:
    recipe = dataclasses.replace(SYSTEMS["stgcnpp"], epochs=1)
    source = build_model(recipe, 9, 3, torch.Generator().manual_seed(5), skeleton=clips.skeleton)
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
        ({"network": "ctrgnc"}, "network is 'ctrgnc'; use 'cnn' or 'stgcn'"),
        ({"network": "ctrgcn"}, r"pathways is \('rgb', 'pose'\); use \('pose',\)"),
        ({"network": "tsm", "pathways": ("pose",)}, r"use \('rgb',\)"),
        ({"stream": "bone"}, "stream is 'bone', but it is a setting of stgcn"),
        ({"network": "ctrgcn", "pathways": ("pose",), "heatmap": "limb"}, "heatmap is 'limb', but it is a setting of"),
        ({"network": "ctrgcn", "pathways": ("pose",), "stream": "bones"}, "stream is 'bones'"),
        ({"network": "ctrgcn", "pathways": ("pose",), "persons": 0}, "persons is 0"),
        ({"class_groups": 2}, "for a network of one pathway"),
        ({"pathways": ("pose",), "class_groups": 2, "semantic": "names"}, "leave one out"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov"),
        ({"nesterov": True, "optimizer": "adamw"}, "nesterov"),
        ({"optimizer": "adam"}, "optimizer is 'adam'; use 'sgd' or 'adamw'"),
        ({"rotation": 200.0}, "rotation is 200.0; use 0 to 180"),
        ({"pose_blocks": ()}, r"pose_blocks is \[\]; use the number of blocks of each stage"),
        ({"pathways": ("rgb",), "rgb_blocks": (2, -1)}, r"rgb_blocks is \[2, -1\]"),
        ({"embedding_pool": ("mean", "sum")}, r"embedding_pool is \['mean', 'sum'\]; use 'mean' or 'max' twice"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        Recipe(**changes)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        *[(name, {"pose_width": 1}, "pose_width=1, .* width of at least")
          for name in ("aagcn", "ctrgcn", "dgstgcn")],
        ("stgcnpp", {"pose_width": 1}, "pose_width=1, .*: raise width"),
        ("hyperformer", {"pose_width": 100}, "pose_width=100, .* a multiple of 12"),
        ("video_swin", {"rgb_width": 100}, "rgb_width=100, .* 3 heads do not divide"),
        ("stgcn", {"pose_frames": 1, "batch_size": 11}, "pose_frames=1, .* batches of 1 clips .* more than 1 value"),
        ("ehct", {"class_groups": 5}, "class_groups=5, for 4 classes"),
        ("ctrgcn", {"persons": 50}, "persons is 50, but no clip has more than 1"),
        ("semantic", {"semantic": "no_such_file.txt"}, "no file of word vectors no_such_file.txt"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused_before_anything_is_written(
    name: str, changes: dict[str, Any], message: str, clips: Clips, tmp_path: Path
) -> None:
    state = torch.get_rng_state()
    with pytest.raises(MgkitError, match=message):
        fit(clips, dataclasses.replace(SYSTEMS[name], **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert torch.equal(torch.get_rng_state(), state)


def test_recipes_of_before_say_what_they_said() -> None:
    """Settings of later are left out where they change nothing, so that older runs go on."""
    assert not {"network", "stream", "optimizer", "semantic", "class_groups"} & set(recipes.paper().to_dict())
    assert recipes.ctrgcn(stream="bone").to_dict()["stream"] == "bone"


def test_the_optimiser_has_the_groups_of_the_recipe() -> None:
    recipe = dataclasses.replace(SYSTEMS["video_swin"], backbone_rate=0.1)
    model = build_model(recipe, 4, 0)
    optimizer = make_optimizer(model, recipe, torch.device("cpu"))
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


def test_the_backbone_learns_at_its_own_rate(clips: Clips, tmp_path: Path) -> None:
    frozen = dataclasses.replace(SYSTEMS["ctrgcn"], backbone_rate=0.0, epochs=1)
    run = fit(clips, frozen, tmp_path / "run")
    g = torch.Generator().manual_seed(0)
    begin = build_model(frozen, 4, 3, g, skeleton=clips.skeleton, class_counts=np.full(4, 3))
    parameters = dict(begin.named_parameters())
    for name, value in states(run)[0].items():
        if name in parameters:
            assert torch.equal(value, parameters[name]) == name.startswith("backbones."), name


def test_class_vectors_are_part_of_the_run(
    clips: Clips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vectors.txt"
    words = ["red", "blue", "still"]
    file.write_text("".join(f"{word} {i}.5 1.0 {i * i}.0\n" for i, word in enumerate(words)))
    recipe = dataclasses.replace(SYSTEMS["semantic"], semantic=str(file), semantic_dim=3, epochs=1)
    run = fit(clips, recipe, tmp_path / "run", progress=True)
    for said in (capsys.readouterr().err, (run.root / "class_vectors.txt").read_text()):
        assert "red moving: without moving" in said
    saved = load_checkpoint(run.checkpoint("best"))["objective"]["auxiliary.semantic.vectors"]
    np.testing.assert_allclose(saved.numpy()[0], [(0.5 + 2.5) / 2, 1.0, (0 + 4) / 2])  # "red still"
    file.write_text(file.read_text().replace("0.5", "0.25"))
    with pytest.raises(MgkitError, match="class_vectors"):
        fit(clips, recipe, tmp_path / "run")
    file.unlink()
    run_test(run, "test", device="cpu", workers=0, progress=False)  # what was learnt does without the file
    with pytest.raises(MgkitError, match=r"vectors\.txt"):
        semantic_vectors(recipe, clips)


def test_vectors_of_another_width_are_refused_with_the_remedy(clips: Clips) -> None:
    with pytest.raises(MgkitError, match="set semantic_dim=4"):
        semantic_vectors(dataclasses.replace(SYSTEMS["semantic"], semantic_dim=300), clips)


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
    two = dataclasses.replace(SYSTEMS[name], persons=2)
    source = build_model(two, 4, 3, torch.Generator().manual_seed(0), skeleton=TRIANGLE).eval()
    model = build_model(SYSTEMS[name], 4, 3, torch.Generator().manual_seed(1), skeleton=TRIANGLE).eval()
    torch.nn.init.normal_(source.get_parameter("backbones.pose.data_bn.bias"))
    write_published(tmp_path / "file.pth", source)
    report = load_published(tmp_path / "file.pth", model)
    assert set(report.adapted.values()) == {"of the file's 2 persons the first 1"}
    x = torch.rand(2, 2, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    found = model({"pose": x[:, :1]})["pose"].features
    torch.testing.assert_close(found, source({"pose": x})["pose"].features[..., :1])


@pytest.mark.parametrize("name", ["stgcn", "stgcnpp", "aagcn", "ctrgcn", "dgstgcn"])
def test_published_skeleton_files_start_a_training(name: str, reference_dir: Path, tmp_path: Path) -> None:
    """In PYSKL's layout, of two people and COCO's joints: for one person, other classes, another skeleton."""
    published = torch.load(reference_dir / f"{name}_tiny.pt", weights_only=True)["state_dict"]
    torch.save({"state_dict": published, "meta": {}}, tmp_path / "file.pth")
    recipe = getattr(recipes, name)(pose_width=16, prototypes=False)
    tries: list[tuple[int, Skeleton, dict[str, Any]]] = [
        (32, COCO17, {}),
        (5, COCO17, {"classes": "new"}),
        (5, TRIANGLE, {"classes": "new", "joints": "new"}),
    ]
    for classes, skeleton, options in tries:
        g = torch.Generator().manual_seed(0)
        model = build_model(recipe, classes, len(skeleton), g, skeleton=skeleton)
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
