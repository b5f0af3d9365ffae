"""The video transformers, each against its library's own forward, from a folder of random weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mgkit.data.batches.device import resample_frames
from mgkit.data.batches.spec import Inputs
from mgkit.errors import MgkitError
from mgkit.models import load_published, recompute_blocks
from mgkit.models.losses.semantic import SemanticHead
from mgkit.models.outline import outline
from mgkit.models.vits.transformer import PIXELS
from mgkit.models.vits.videomae import sinusoids
from mgkit.parts import part
from mgkit.training.machine import make_optimizer
from mgkit.training.recipe import Optimisation

pytestmark = pytest.mark.slow  # the first to import transformers waits for it

FRAMES, SIZE, CLASSES = 4, 32, 5
INPUTS = Inputs(reads=("frames",), rgb_frames=FRAMES, rgb_size=SIZE)
HEAD = part("mgkit.models.heads:PathwayHead", embedding_dim=6, dropout=0.0)
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "videomae": ("videomae", {"width": 24, "blocks": 3, "heads": 2, "patch": 8}),
    "vjepa2": ("vjepa2", {"width": 24, "blocks": 3, "heads": 2, "patch": 8, "pool_blocks": 1}),
    "videoprism": ("videoprism", {"width": 24, "blocks": 2, "time_blocks": 1, "heads": 2, "patch": 8}),
    "mvit_v2": ("mvit", {"width": 8, "blocks": (1, 2, 1)}),
}


def network(name: str, seed: int = 0, **settings: Any) -> Any:
    file, tiny = TINY[name]
    built = part(f"mgkit.models.vits.{file}:{name}", **{**tiny, "head": HEAD, **settings})
    return built.build(classes=CLASSES, inputs=INPUTS, generator=torch.Generator().manual_seed(seed))


def far_from_the_start(model: nn.Module) -> nn.Module:
    """Weights so large that no branch is near zero."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.15, generator=g)
    return model.eval()


def libraries_own(name: str) -> nn.Module:
    """The library's classifier of the same settings."""
    sizes = {"hidden_size": 24, "num_attention_heads": 2, "num_labels": CLASSES}
    if name == "mvit_v2":
        from torchvision.models.video import mvit

        stages = [(1, 8, 8, 1, 4), (2, 8, 16, 2, 2), (2, 16, 16, 1, 2), (4, 16, 32, 2, 1)]
        return mvit.MViT(
            (SIZE, SIZE), FRAMES,
            [
                mvit.MSBlockConfig(heads, i, o, [3, 3, 3], [3, 3, 3], [1, q, q], [1, kv, kv])
                for heads, i, o, q, kv in stages
            ],
            residual_pool=True, residual_with_cls_embed=False, rel_pos_embed=True, proj_after_attn=True,
            num_classes=CLASSES,
        )  # fmt: skip
    import transformers as library

    if name == "videomae":
        return library.VideoMAEForVideoClassification(
            library.VideoMAEConfig(
                image_size=SIZE, num_frames=FRAMES, patch_size=8, num_hidden_layers=3, intermediate_size=96, **sizes
            )
        )  # fmt: skip
    if name == "vjepa2":
        return library.VJEPA2ForVideoClassification(
            library.VJEPA2Config(
                crop_size=SIZE, frames_per_clip=FRAMES, patch_size=8, num_hidden_layers=3, num_pooler_layers=1,
                pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1, **sizes,
            )
        )  # fmt: skip
    return library.VideoPrismForVideoClassification(
        library.VideoPrismVisionConfig(
            image_size=SIZE, num_frames=FRAMES, tubelet_size=[1, 8, 8], num_spatial_layers=2, num_temporal_layers=1,
            intermediate_size=96, **sizes,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[nn.Module, Path]]:
    """The library's network and the file it was saved to."""
    made = {}
    for name in TINY:
        folder, model = tmp_path_factory.mktemp(name), far_from_the_start(libraries_own(name))
        if name == "mvit_v2":
            torch.save(model.state_dict(), folder / "mvit.pth")
            made[name] = model, folder / "mvit.pth"
        else:
            model.save_pretrained(folder)  # type: ignore[operator]
            made[name] = model, folder / "model.safetensors"
    return made


def pictures(clips: int = 2) -> Tensor:
    g = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (clips, FRAMES, SIZE, SIZE, 3), generator=g, dtype=torch.uint8)


def as_mgkit_feeds(frames: Tensor) -> Tensor:
    whole = torch.tensor([[1 / SIZE, 0, 0], [0, 1 / SIZE, 0]]).expand(len(frames), 2, 3)
    return resample_frames(frames, whole, SIZE)


def as_the_library_feeds(name: str, frames: Tensor) -> Tensor:
    """(N, T, 3, H, W) of the library's own processor, with the means that are published with the weights."""
    import transformers as library

    plain = {"do_resize": False, "do_center_crop": False}
    clips = [one.permute(0, 3, 1, 2) for one in frames]
    if name == "mvit_v2":
        from torchvision.transforms.functional import normalize

        return normalize(frames.permute(0, 1, 4, 2, 3) / 255, [0.45] * 3, [0.225] * 3)
    if name == "vjepa2":
        return library.VJEPA2VideoProcessor(**plain)(clips, return_tensors="pt").pixel_values_videos
    if name == "videomae":
        mean, std = PIXELS["imagenet"]
        made = library.VideoMAEVideoProcessor(image_mean=mean, image_std=std, **plain)
        return made(clips, return_tensors="pt").pixel_values
    return frames.permute(0, 1, 4, 2, 3) / 255


@torch.no_grad()
@pytest.mark.parametrize("name", TINY)
def test_logits_are_the_librarys_from_pixels_on(
    name: str, folders: dict[str, tuple[nn.Module, Path]]
) -> None:
    theirs, file = folders[name]
    ours = network(name, drop_path=0.3).eval()
    report = load_published(file, ours)
    given = [key for key in ours.state_dict() if ".embedding." not in key]
    assert set(report.initialised) == set(ours.state_dict()) - set(given)
    assert len(report.used) == len(given)
    left = "predictor" if name == "vjepa2" else "nothing is left"
    assert all(left in key for key in report.left)
    frames = pictures()
    fed = as_the_library_feeds(name, frames)
    if name == "mvit_v2":
        expected = theirs(fed.transpose(1, 2))
    else:
        expected = theirs(fed).logits.view(2, CLASSES)  # VideoPrism's have an axis of one query
    found = ours({"rgb": as_mgkit_feeds(frames)})["rgb"]
    assert expected.std() > 0.1
    torch.testing.assert_close(found.logits, expected, atol=1e-5, rtol=1e-5)
    assert found.embedding.shape == (2, 6)
    grid = {"videoprism": (4, 4, 4), "mvit_v2": (2, 2, 2)}.get(name, (2, 4, 4))
    assert found.features.shape == (2, ours.backbones["rgb"].out_channels[-1], *grid)


@torch.no_grad()
@pytest.mark.parametrize("name", ["videomae", "vjepa2", "videoprism"])
def test_features_are_where_the_picture_is(name: str) -> None:
    """Without attention (its last projections zero), a change of one patch changes that place of the map alone."""
    model = network(name, drop_path=0.0).eval()
    for key, value in model.named_parameters():
        if (
            "attention" in key
            and ("proj.weight" in key or "output.dense.weight" in key)
            and ".pool." not in key
        ):
            value.zero_()
    x = as_mgkit_feeds(pictures(1))
    other = x.clone()
    other[:, :, 2:, 8:16, 24:] += 1.0  # the last two frames, second row, fourth column
    change = (model({"rgb": other})["rgb"].features - model({"rgb": x})["rgb"].features).abs().sum((0, 1))
    first = 2 if name == "videoprism" else 1  # patches of one frame, or of two
    wanted = torch.zeros_like(change, dtype=torch.bool)
    wanted[first:, 1, 3] = True
    assert torch.equal(change > 1e-6, wanted)


@pytest.mark.parametrize("name", TINY)
def test_it_trains_and_a_block_may_be_skipped(name: str) -> None:
    model = network(name, drop_path=0.9).train()
    x = as_mgkit_feeds(pictures())
    torch.manual_seed(0)
    outputs = [model({"rgb": x})["rgb"].logits for _ in range(4)]
    assert not all(torch.equal(outputs[0], other) for other in outputs[1:])
    sure = network(name, drop_path=0.0).train()
    output = sure({"rgb": x})["rgb"]
    assert torch.equal(output.logits, sure({"rgb": x})["rgb"].logits)
    (output.logits.square().sum() + output.embedding.square().sum()).backward()
    missing = [key for key, p in sure.named_parameters() if p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in sure.parameters())


@pytest.mark.parametrize("name", TINY)
def test_initial_weights_are_the_generators(name: str) -> None:
    made = []
    for elsewhere, seed in enumerate((1, 1, 2)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(elsewhere)
            made.append(network(name, seed).state_dict())
    one, same, other = made
    assert all(torch.equal(value, same[key]) and value.isfinite().all() for key, value in one.items())
    assert any(not torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("name", TINY)
def test_rates_fall_towards_the_input(name: str) -> None:
    model = network(name, layer_decay=0.5)
    settings = Optimisation(optimizer="adamw", weight_decay=0.05)
    groups = make_optimizer(model, settings, torch.device("cpu")).param_groups
    found = {
        id(p): (group.get("factor", 1.0), group["weight_decay"]) for group in groups for p in group["params"]
    }
    by_name = {key: found[id(p)] for key, p in model.named_parameters()}
    backbone = model.backbones["rgb"]
    blocks = [block for stage in backbone.stages for block in stage]
    for depth, block in enumerate(reversed(blocks), 1):
        assert {found[id(p)][0] for p in block.parameters()} == {0.5**depth}
    assert {found[id(p)][0] for one in backbone.stem for p in one.parameters()} == {0.5 ** (len(blocks) + 1)}
    for key, (factor, decay) in by_name.items():
        if key.startswith("heads.") or ".pool." in key.replace(".pool.weight", "").replace("attn.pool", ""):
            assert name == "mvit_v2" or factor == 1.0, key
        if key.endswith(".bias") or "position" in key or "rel_pos" in key:
            assert decay == 0.0, key


def test_positions_are_sines_and_cosines() -> None:
    table = sinusoids(7, 6)
    for position in range(7):
        for column in range(6):
            angle = torch.tensor(position / 10000 ** (2 * (column // 2) / 6), dtype=torch.float64)
            wanted = angle.sin() if column % 2 == 0 else angle.cos()
            assert table[position, column] == pytest.approx(wanted.item(), abs=1e-6)


@torch.no_grad()
def test_only_visible_tokens_are_looked_at() -> None:
    backbone = network("videomae", drop_path=0.0).eval().backbones["rgb"]
    x = as_mgkit_feeds(pictures())
    visible = torch.zeros(2, 32, dtype=torch.bool)
    visible[0, [0, 3, 31]] = visible[1, [5, 6, 7]] = True
    found = backbone.tokens(x, visible)
    assert found.shape == (2, 3, 24)
    hidden = x.clone()
    hidden[1, :, 2:] = 0.0  # tokens 16 to 31 of the second clip, of which none is visible
    assert torch.equal(backbone.tokens(hidden, visible), found)
    everything = torch.ones(2, 32, dtype=torch.bool)
    torch.testing.assert_close(backbone.tokens(x, everything), backbone.tokens(x))


@pytest.mark.parametrize("name", TINY)
def test_its_outline_is_all_there_is_of_it(name: str) -> None:
    model = network(name)
    found = outline(model, {"rgb": (3, FRAMES, SIZE, SIZE)})
    (lane,) = found["pathways"]
    assert lane["kind"] == "tokens"
    features = model.eval()({"rgb": torch.rand(1, 3, FRAMES, SIZE, SIZE)})["rgb"].features
    assert lane["stages"][-1]["shape"] == list(features.shape[1:])
    counts = {"videoprism": [2, 1], "mvit_v2": [1, 2, 1]}.get(name, [3])
    assert [stage["blocks"] for stage in lane["stages"]] == counts
    assert [stage["inflated"] for stage in lane["stages"]] == (
        [False, True] if name == "videoprism" else [True] * len(counts)
    )
    stem = {"mvit_v2": [8, 2, 8, 8], "videoprism": [24, 4, 4, 4]}.get(name, [24, 2, 4, 4])
    assert lane["stem"]["shape"] == stem
    total = sum(one["parameters"] for one in (lane["stem"], *lane["stages"], lane["head"]))
    assert total == found["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", TINY)
def test_blocks_that_are_computed_again_change_nothing(name: str) -> None:
    results = []
    for saving in (False, True):
        model = network(name, drop_path=0.5).train()
        if saving:
            recompute_blocks(model)
        torch.manual_seed(0)
        logits = model({"rgb": as_mgkit_feeds(pictures())})["rgb"].logits
        logits.square().sum().backward()
        results.append((logits, [p.grad for p in model.parameters() if p.grad is not None]))
    (one, a), (two, b) = results
    assert torch.equal(one, two)
    assert len(a) == len(b)
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_other_heads_read_what_was_pooled() -> None:
    head = part(SemanticHead, semantic_dim=3, embedding_dim=6, dropout=0.0)
    model = network("vjepa2", head=head).eval()
    x = as_mgkit_feeds(pictures())
    features, pooled = model.backbones["rgb"](x)
    assert not torch.allclose(pooled, features.mean((2, 3, 4)))
    found = model({"rgb": x})["rgb"]
    torch.testing.assert_close(found.logits, model.heads["rgb"].classifier(pooled))
    torch.testing.assert_close(found.auxiliary["semantic"], model.heads["rgb"].semantic(pooled))


def test_the_mean_is_another_way_to_pool() -> None:
    features, pooled = network("vjepa2", pool_blocks=None).eval().backbones["rgb"](as_mgkit_feeds(pictures()))
    torch.testing.assert_close(pooled, features.mean((2, 3, 4)))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("videomae", {"heads": 5}, r"width \(24\) must be a multiple of heads \(5\)"),
        ("videomae", {"patch": 5}, "no multiple of: change rgb_frames or rgb_size"),
        ("videomae", {"tubelet": 3}, "patches of 3 frames .* which 4 frames"),
        ("videomae", {"drop_path": 1.0}, "drop_path is a probability of at least 0 and less than 1; got 1.0"),
        ("videomae", {"layer_decay": 0.0}, "layer_decay is a factor above 0 and up to 1; got 0.0"),
        ("videomae", {"pixels": "bgr"}, "pixels is 'bgr'; use 'imagenet', 'kinetics', 'half'"),
        ("vjepa2", {"heads": 8}, "a head needs 6 channels or more"),
        ("vjepa2", {"pool_blocks": -1}, r"pool_blocks \(-1\) is at least 0, or None"),
        ("videoprism", {"time_blocks": 0}, r"blocks \(0\)"),
        ("mvit_v2", {"blocks": (1,)}, "two in all"),
        ("mvit_v2", {"blocks": (1, 1, 1, 1, 1)}, "a multiple of 64; got 4 frames of 32 pixels"),
        ("mvit_v2", {"heads": 3}, "a width that is a multiple of heads"),
    ],
)
def test_what_is_no_network_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MgkitError, match=message):
        network(name, **settings)


def test_clips_of_another_size_are_refused() -> None:
    with pytest.raises(
        MgkitError, match=r"built for clips \(clips, 3, 4, 32, 32\), but got \(1, 3, 2, 32, 32\)"
    ):
        network("videomae")({"rgb": torch.zeros(1, 3, 2, SIZE, SIZE)})


def test_without_the_library_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MgkitError, match=r"VideoMAE needs the package transformers: pip install 'mgkit\[video\]'"
    ):
        network("videomae")
    network("mvit_v2")  # torchvision's


def test_a_library_without_the_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.models.videoprism.modeling_videoprism", None)
    with pytest.raises(
        MgkitError, match=r"VideoPrism needs transformers 5\.\d+ or newer, and .* cannot be used"
    ):
        network("videoprism")
