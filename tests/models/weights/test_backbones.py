import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models import PathwayHead, SinglePathway, load_published
from mgkit.models.cnns.tsm import tsm_resnet
from mgkit.models.cnns.video_swin import SwinSize, swin_features
from mgkit.models.weights.fitting import LoadReport
from mgkit.parts import part
from tests.models.cnns.test_tsm import as_authors as tsm_authors
from tests.models.cnns.test_tsm import as_mmaction2
from tests.models.cnns.test_video_swin import as_authors as swin_authors
from tests.models.cnns.test_video_swin import torchvision_net


def load(path, backbone) -> LoadReport:
    return load_published(
        path, SinglePathway("rgb", backbone, 3, head=part(PathwayHead, embedding_dim=None)), classes="new"
    )


NARROW = SwinSize(8, (1, 2), (1, 2))


def tsm(width=8, blocks=(1, 2)):
    return tsm_resnet(blocks=blocks, width=width)


def swin(size=NARROW, window=(2, 3, 3)):
    return swin_features(size, window=window)


def test_torchvisions_video_swin_file_loads_and_its_head_is_left(tmp_path):
    theirs, ours = torchvision_net(NARROW, (2, 3, 3)), swin()
    torch.save(theirs.state_dict(), tmp_path / "swin3d.pth")
    report = load(tmp_path / "swin3d.pth", ours)
    assert list(report.left) == ["head.weight", "head.bias"]
    assert report.left["head.bias"] == "the classes are new"
    assert set(report.used) == set(ours.state_dict())
    assert set(report.initialised) == {"heads.rgb.classifier.weight", "heads.rgb.classifier.bias"}
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name])


@pytest.mark.parametrize(
    "make, rename, head",
    [
        (swin, lambda name: f"backbone.{swin_authors(name)}", "cls_head.fc_cls.weight"),
        (tsm, as_mmaction2, "cls_head.fc_cls.weight"),
        (tsm, tsm_authors, "module.new_fc.weight"),
    ],
)
def test_published_files_load(tmp_path, make, rename, head):
    source, ours = make(), make()
    state = {rename(name): value for name, value in source.state_dict().items()} | {head: torch.zeros(3, 4)}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "file.pth")
    report = load(tmp_path / "file.pth", ours)
    assert set(report.left) == {"fc.weight" if make is tsm else head, "epoch"}
    assert len(report.used) == len(source.state_dict())
    for name, value in ours.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


def test_old_files_without_counters_load(tmp_path):
    source, ours = tsm(), tsm()
    state = {n: v for n, v in source.state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "resnet.pth")
    report = load(tmp_path / "resnet.pth", ours)
    assert (
        len(report.initialised) == 1 + 4 + 4 + 3 + 2
    )  # the norms of the stem and of the three blocks; the classifier
    assert torch.equal(ours.conv1.weight, source.conv1.weight)


@pytest.mark.parametrize(
    "source, target, message",
    [
        (tsm(), swin(), "nothing in the file belongs to this model"),
        (swin(), tsm(), "nothing in the file belongs to this model"),
        (tsm(blocks=(1, 3)), tsm(), r"the model has no layer2\.2\.conv1\.weight"),
        (tsm(blocks=(1, 1)), tsm(), r"it lacks backbones\.rgb\.layer2\.1\.conv1\.weight"),
        (
            tsm(width=4),
            tsm(),
            r"conv1\.weight \(4, 3, 7, 7\) for backbones\.rgb\.conv1\.weight \(8, 3, 7, 7\)",
        ),
        (swin(window=(2, 2, 2)), swin(), "relative_position_bias_table"),
    ],
)
def test_other_networks_are_refused_and_nothing_changes(tmp_path, source, target, message):
    torch.save(source.state_dict(), tmp_path / "other.pth")
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(MgkitError, match=message) as caught:
        load(tmp_path / "other.pth", target)
    assert str(tmp_path / "other.pth") in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_a_file_with_two_networks_is_refused(tmp_path):
    state = tsm().state_dict()
    torch.save(
        {**state, **{f"backbone.{name}": value for name, value in state.items()}}, tmp_path / "two.pth"
    )
    with pytest.raises(MgkitError, match=r"two\.pth: the file has the weight conv1\.weight twice"):
        load(tmp_path / "two.pth", tsm())
