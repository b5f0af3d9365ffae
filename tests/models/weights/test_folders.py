"""Weights in folders of `transformers`, and by name from its cache, on tiny networks that it saved itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.files import sha256_of
from mgkit.models import load_published, read_checkpoint
from mgkit.models.weights.folders import check_settings, is_folder_of_weights, weights_in
from mgkit.models.weights.known import KNOWN, find_known
from mgkit.parts import part
from mgkit.training import recipes, start
from mgkit.training.checkpoints import load_checkpoint
from mgkit.training.start import Weights, find_start
from tests.tiny import tiny_clips
from tests.training.training import fit

pytestmark = pytest.mark.slow  # the first to import transformers waits for it

SIZES: dict[str, Any] = {"width": 12, "blocks": 2, "heads": 2, "patch": 8}
TINY: dict[str, Any] = {
    **SIZES, "rgb_frames": 2, "rgb_size": 32, "pose_frames": 2, "embedding_dim": 8, "batch_size": 4, "epochs": 1,
}  # fmt: skip
INPUTS = Inputs(reads=("frames",), rgb_frames=2, rgb_size=32, pose_frames=2)


def network(**changes: Any) -> Any:
    built = part("mgkit.models.vits.videomae:videomae", **{**SIZES, **changes})
    return built.build(classes=4, inputs=INPUTS, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VideoMAE of four classes as `save_pretrained` writes it."""
    import transformers as library

    config = library.VideoMAEConfig(
        image_size=32, num_frames=2, patch_size=8, hidden_size=12, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, num_labels=4,
    )  # fmt: skip
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "videomae"
    library.VideoMAEForVideoClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "videomae"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("clips") / "clips")


def change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_a_training_starts_from_a_folder(clips: Clips, folder: Path, tmp_path: Path) -> None:
    recipe = recipes.videomae_small(**TINY, learning_rate=1e-9, weight_decay=0.0)
    for name, given in (("folder", folder), ("weights", Weights(folder, classes="new"))):
        run = fit(clips, recipe, tmp_path / name, start={"rgb": given})
        state, theirs = (
            load_checkpoint(run.checkpoint("last"))["model"],
            read_checkpoint(folder / "model.safetensors").state,
        )
        block = "encoder.layer.1.intermediate.dense.weight"
        torch.testing.assert_close(
            state[f"backbones.rgb.{block}"], theirs[f"videomae.{block}"], atol=1e-6, rtol=0
        )
        same = torch.allclose(state["heads.rgb.classifier.weight"], theirs["classifier.weight"], atol=1e-6)
        assert same == (name == "folder")  # four classes there and here
    text = (tmp_path / "weights" / "start.txt").read_text()
    assert "left 2 (the classes are new): classifier.bias, classifier.weight" in text


def test_files_of_before_and_of_pretraining_load(folder: Path, tmp_path: Path) -> None:
    """Biases under older names; and without a classifier, but with a decoder and another last norm."""
    theirs = read_checkpoint(folder / "model.safetensors").state
    old = {
        key.replace("attention.query.bias", "attention.q_bias").replace(
            "attention.value.bias", "attention.v_bias"
        ): value
        for key, value in theirs.items()
    }
    assert any(key.endswith("q_bias") for key in old)
    torch.save(old, tmp_path / "old.bin")
    one, two = network(), network()
    load_published(folder / "model.safetensors", one)
    load_published(tmp_path / "old.bin", two)
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())

    inside = {key: v for key, v in theirs.items() if key.startswith("videomae.")}
    extra = {
        "decoder.norm.weight": torch.ones(3),
        "mask_token": torch.ones(1),
        "videomae.layernorm.bias": torch.ones(12),
    }
    torch.save({**inside, **extra}, tmp_path / "pretrained.bin")
    model = network()
    report = load_published(tmp_path / "pretrained.bin", model, classes="new")
    assert set(report.left) == {key.removeprefix("videomae.") for key in extra}
    assert {"backbones.rgb.pool.weight", "backbones.rgb.pool.bias"} <= set(report.initialised)
    assert len(report.used) == len(inside)


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ({}, {"heads": 3}, r"num_attention_heads=2 and not 3: give the recipe heads=2$"),
        (
            {},
            {"width": 24},
            "hidden_size=12 and not 24.* intermediate_size=48 and not 96, which mgkit has not",
        ),
        ({"num_frames": 16, "image_size": 224}, {}, "give the recipe rgb_size=224, rgb_frames=16"),
        ({"layer_norm_eps": 1e-6}, {}, "layer_norm_eps=1e-06 and not 1e-12, which mgkit has not"),
        ({"model_type": "vjepa2"}, {}, "says 'vjepa2', and the network is VideoMAE"),
        ({"hidden_size": "wide"}, {}, "config.json cannot be used"),
    ],
)
def test_settings_that_shapes_do_not_show_are_compared(
    values: dict[str, Any], settings: dict[str, Any], message: str, folder: Path
) -> None:
    change(folder, **values)
    model = network(**settings)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(MgkitError, match=message):
        load_published(folder / "model.safetensors", model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, r"normalises pixels by .*: give the recipe pixels='half'"),
        ({"do_normalize": False}, "give the recipe pixels='unit'"),
        ({"image_mean": [0.1] * 3, "image_std": [0.5] * 3}, "mgkit knows imagenet, kinetics, half, unit only"),
        ({"image_mean": "grey"}, "mgkit knows"),
        ({"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_pixels_are_compared(values: dict[str, Any], message: str, folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    backbone = network().backbones["rgb"]
    if not message:
        check_settings(folder, backbone)
        return
    with pytest.raises(MgkitError, match=message):
        check_settings(folder, backbone)


def test_folders_that_are_not_whole_are_refused(folder: Path, clips: Clips) -> None:
    recipe = recipes.videomae_small(**TINY)
    cut = folder / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(MgkitError, match=r"model\.safetensors cannot be read as safetensors .*: check that"):
        read_checkpoint(cut)
    cut.unlink()
    with pytest.raises(MgkitError, match=r"has no model\.safetensors: copy it there"):
        find_start({"rgb": folder}, recipe, clips)
    (folder / "pytorch_model.bin").touch()
    with pytest.raises(
        MgkitError, match=r"but pytorch_model\.bin, a pickle: to have it read .* give that file"
    ):
        weights_in(folder)
    (folder / "model.safetensors.index.json").touch()
    with pytest.raises(MgkitError, match="in several pieces"):
        weights_in(folder)


def test_a_run_is_no_such_folder(tmp_path: Path) -> None:
    assert not is_folder_of_weights(tmp_path)
    (tmp_path / "config.json").write_text('{"recipe": {}}')
    assert not is_folder_of_weights(tmp_path)
    (tmp_path / "config.json").write_text("[1, 2")
    assert not is_folder_of_weights(tmp_path)


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as a revision in the cache of huggingface_hub, which then has no need of a network."""
    import huggingface_hub

    place = folder.parent / "hub" / "models--x" / "snapshots" / "abc123"
    place.parent.mkdir(parents=True)
    folder.rename(place)

    def fetched(repository: str, file: str, **_: Any) -> str:
        assert repository == KNOWN["videomae-small-k400"].repository
        if not (place / file).is_file():
            raise FileNotFoundError(f"no {file} and no network")
        return str(place / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    return place


def test_a_training_starts_from_it_by_name(
    hub: Path, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_known("videomae-small-k400") == hub / "model.safetensors"
    hashed: list[Path] = []
    monkeypatch.setattr(start, "sha256_of", lambda path: (hashed.append(Path(path)), sha256_of(path))[1])
    recipe = recipes.videomae_small(**TINY)
    run = fit(clips, recipe, tmp_path / "run", start={"rgb": "videomae-small-k400"})
    text = (run.root / "start.txt").read_text()
    digest = hashlib.sha256((hub / "model.safetensors").read_bytes()).hexdigest()
    assert "CC-BY-NC-4.0: not for commercial use" in text
    assert f"revision abc123; model.safetensors, SHA-256 {digest}" in text
    assert "the classes are new" in text
    assert hashed == [hub / "model.safetensors"]  # large files: once is enough


def test_without_a_network_it_says_where_to_put_the_files(hub: Path) -> None:
    (hub / "model.safetensors").unlink()
    with pytest.raises(
        MgkitError,
        match=r"'videomae-small-k400' are not on this machine .*no network.*model\.safetensors of .*"
        r"videomae-small-finetuned-kinetics into a folder and start from that",
    ):
        find_known("videomae-small-k400")


def test_weights_that_the_main_branch_lacks_are_fetched_at_their_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import huggingface_hub

    asked: list[tuple[str, str | None]] = []

    def missing(repository: str, file: str, revision: str | None = None, **_: Any) -> str:
        asked.append((repository, revision))
        raise FileNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", missing)
    for name in ("videoprism-base", "vjepa2-large"):
        known = KNOWN[name]
        with pytest.raises(
            MgkitError, match=rf"model\.safetensors of {known.url}(/tree/{known.revision})? into"
        ):
            find_known(name)
        assert set(asked) == {(known.repository, known.revision or None)}
        asked.clear()
    assert len(KNOWN["videoprism-base"].revision) == 40
