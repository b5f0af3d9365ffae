"""Published weights by one word, on made files with the names, shapes and hashes of real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mgkit.cli import main
from mgkit.data.clips import Clips
from mgkit.errors import MgkitError
from mgkit.models.weights import known
from mgkit.models.weights.known import KNOWN, KnownWeights, find_known
from mgkit.training import recipes
from mgkit.training.checkpoints import load_checkpoint
from tests.tiny import tiny_clips
from tests.training.training import TINY, fit


def torchvision_resnet(width: int) -> dict[str, torch.Tensor]:
    """A ResNet-50 of another width and one block a stage, as torchvision names and shapes its weights."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def conv(name: str, norm: str, out: int, into: int, side: int) -> None:
        state[f"{name}.weight"] = 0.1 * torch.randn(out, into, side, side, generator=generator)
        state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.ones(out), torch.zeros(out)
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = torch.zeros(out), torch.ones(out)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(5)

    conv("conv1", "bn1", width, 3, 7)
    into = width
    for stage in range(4):
        inner = width * 2**stage
        block = f"layer{stage + 1}.0"
        conv(f"{block}.conv1", f"{block}.bn1", inner, into, 1)
        conv(f"{block}.conv2", f"{block}.bn2", inner, inner, 3)
        conv(f"{block}.conv3", f"{block}.bn3", 4 * inner, inner, 1)
        conv(f"{block}.downsample.0", f"{block}.downsample.1", 4 * inner, into, 1)
        into = 4 * inner
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, into), torch.zeros(1000)
    return state


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


@pytest.fixture
def made(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that "imagenet" means, somewhere from which it can be fetched."""
    path = tmp_path / "there" / "weights.pth"
    path.parent.mkdir()
    torch.save(torchvision_resnet(4), path)
    named = path.with_name(f"resnet50-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth")
    path.rename(named)
    made = KnownWeights(named.as_uri(), "ResNet-50", "rgb", "made here", "none")
    monkeypatch.setitem(known.KNOWN, "imagenet", made)
    return named


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return tiny_clips(tmp_path_factory.mktemp("known") / "clips")


def small(**changes: object) -> recipes.Recipe:
    sizes = {
        name: value for name, value in TINY.items() if not name.startswith("pose_") and name != "heatmap_size"
    }
    return recipes.rgb_only(**{**sizes, "rgb_blocks": (1, 1, 1, 1), "epochs": 1, "pose_frames": 2, **changes})


def test_it_is_fetched_once_into_torchs_cache_and_checked(cache: Path, made: Path) -> None:
    found = find_known("imagenet")
    assert found == cache / made.name
    assert found.read_bytes() == made.read_bytes()
    made.unlink()
    assert find_known("imagenet") == found  # without a network
    found.write_bytes(b"another file")
    with pytest.raises(MgkitError, match="not the file that its name says"):
        find_known("imagenet")


def test_without_a_network_it_says_where_to_put_the_file(cache: Path, made: Path) -> None:
    made.unlink()
    with pytest.raises(MgkitError, match="put the file .* at .*hub/checkpoints/resnet50-"):
        find_known("imagenet")
    assert not list(cache.glob("*"))  # nothing half
    with pytest.raises(MgkitError, match=r"no weights 'image net'"):
        find_known("image net")


def test_what_is_fetched_must_have_its_hash(cache: Path, made: Path) -> None:
    made.write_bytes(b"something else")
    with pytest.raises(MgkitError, match="cannot be fetched"):
        find_known("imagenet")
    assert not list(cache.glob("*"))


def test_each_is_named_with_hash_source_and_licence() -> None:
    for name, weights in KNOWN.items():
        assert weights.url.startswith("https://")
        words = (weights.repository or weights.file, weights.source, weights.licence)
        assert all(word in weights.about() for word in words), name
        if not weights.repository:  # its file's hash is not known beforehand
            assert len(weights.digits) == 8, name
            int(weights.digits, 16)
        assert ("CC-BY-NC-4.0" in weights.licence) == name.startswith("videomae"), name


@pytest.mark.slow
def test_a_training_starts_from_it_by_name(clips: Clips, cache: Path, made: Path, tmp_path: Path) -> None:
    run = fit(
        clips, small(learning_rate=1e-9, batch_norm="frozen"), tmp_path / "run", start={"rgb": "imagenet"}
    )
    model = load_checkpoint(run.checkpoint("last"))["model"]
    stem = next(value for name, value in model.items() if value.dim() == 5)  # (4, 3, 1, 7, 7)
    torch.testing.assert_close(stem.sum(2), torchvision_resnet(4)["conv1.weight"], atol=1e-4, rtol=1e-4)
    text = (run.root / "start.txt").read_text()
    assert "made here; none" in text
    assert "used" in text
    settings = run.config["settings"]["start"]["rgb"]
    assert settings["sha256"] == hashlib.sha256(made.read_bytes()).hexdigest()
    with pytest.raises(MgkitError, match="of the pathway rgb"):
        fit(clips, recipes.pose_small(), tmp_path / "pose", start={"all": "imagenet"})
    with pytest.raises(MgkitError, match="imagenet"):
        fit(clips, small(), tmp_path / "typo", start={"rgb": "imagenett"})


@pytest.mark.slow
def test_a_shell_names_it_too(
    clips: Clips, cache: Path, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {
        "rgb_width": 4,
        "rgb_blocks": [1, 1, 1, 1],
        "rgb_size": 32,
        "rgb_frames": 2,
        "pose_frames": 2,
        "epochs": 1,
    }
    sets = [word for name, value in sizes.items() for word in ("--set", f"{name}={value}")]
    words = [
        "train",
        str(clips.root),
        str(tmp_path / "run"),
        "--recipe",
        "rgb-only",
        "--device",
        "cpu",
        *sets,
    ]
    assert main([*words, "--start", "rgb=imagenet"]) == 0
    assert (tmp_path / "run" / "start.txt").is_file()
    assert main([*words[:2], str(tmp_path / "other"), *words[3:], "--start", "rgb=imagnet"]) != 0
    assert "none of the published weights known by name (imagenet" in capsys.readouterr().err
