import pytest
import torch

from mgkit.models.gcns.aagcn import aagcn_features as aagcn
from mgkit.models.gcns.ctrgcn import ctrgcn_features as ctrgcn
from mgkit.models.gcns.stgcn import stgcn_features as stgcn
from mgkit.models.weights.names import first_persons
from tests.models.layouts import COCO, FOREST

SMALL = {"width": 8, "blocks": (1,)}


@pytest.mark.parametrize("build", [aagcn, ctrgcn])
@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_first_person_of_two_is_kept(build, prefix):
    two, one = build(FOREST, persons=2, **SMALL).eval(), build(FOREST, persons=1, **SMALL).eval()
    two.data_bn.running_mean.uniform_(-1, 1)
    two.data_bn.weight.data.uniform_(0.5, 2)
    file = {prefix + name: value for name, value in two.state_dict().items()}
    state, notes = first_persons(file, one)
    assert set(notes) == {
        f"{prefix}data_bn.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")
    }
    assert set(notes.values()) == {"of the file's 2 persons the first 1"}
    one.load_state_dict({name.removeprefix(prefix): value for name, value in state.items()})
    x = torch.randn(2, 2, 8, 7, 3)
    torch.testing.assert_close(one(x[:, :1]), two(x)[..., :1])


@pytest.mark.parametrize(
    ("file", "network"),
    [
        (ctrgcn(FOREST, persons=2, **SMALL), ctrgcn(FOREST, persons=2, **SMALL)),
        (ctrgcn(FOREST, persons=1, **SMALL), ctrgcn(FOREST, persons=2, **SMALL)),
        (ctrgcn(COCO, persons=2, **SMALL), ctrgcn(FOREST, persons=1, **SMALL)),
        (ctrgcn(FOREST, persons=2, **SMALL), ctrgcn(FOREST, data_norm="VC", **SMALL)),
        (stgcn(FOREST, **SMALL), stgcn(FOREST, **SMALL)),
    ],
)
def test_all_else_is_passed_on(file, network):
    state, notes = first_persons(file.state_dict(), network)
    assert not notes
    assert all(
        value is not None and torch.equal(value, file.state_dict()[key]) for key, value in state.items()
    )


def test_published_weights_of_two_persons_serve_one(reference_dir):
    """The first person's features; the second's joints do not reach them."""
    reference = torch.load(reference_dir / "ctrgcn_tiny.pt", weights_only=True)
    network = ctrgcn(COCO, width=16).eval()
    state, notes = first_persons(reference["state_dict"], network)
    assert len(notes) == 4
    network.load_state_dict(
        {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    )
    features = network(reference["inputs"][0][:, :1])
    theirs = reference["eval"]["feat"][:, 0]
    assert (features[..., 0] - theirs).abs().max() <= 1e-5 * theirs.abs().max()
