import torch
from torch import nn

from mgkit.models.layers import GlobalBatchNorm, freeze_statistics, normalise_over_processes
from tests.models.nets import pose_only


def small_model():
    g = torch.Generator().manual_seed(0)
    return pose_only(3, 5, width=4, blocks=(1, 1, 1), embedding_dim=8, generator=g)


def test_one_process_normalises_as_before_and_the_state_dict_stays():
    """Over several processes it is compared with one in tests/training/test_processes.py."""
    plain, changed = small_model(), small_model()
    normalise_over_processes(changed, torch.device("cpu"))
    assert any(isinstance(module, GlobalBatchNorm) for module in changed.modules())
    assert not any(type(module) is nn.BatchNorm3d for module in changed.modules())
    assert plain.state_dict().keys() == changed.state_dict().keys()
    x = {"pose": torch.rand(3, 5, 4, 8, 8, generator=torch.Generator().manual_seed(1))}
    for training in (True, False):
        torch.manual_seed(0)
        one = plain.train(training)(x)["pose"].embedding
        torch.manual_seed(0)
        two = changed.train(training)(x)["pose"].embedding
        assert torch.equal(one, two)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, changed.state_dict()[name]), name


def test_a_gpu_gets_torchs_own():
    model = small_model()
    normalise_over_processes(model, torch.device("cuda"))
    assert any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    assert model.state_dict().keys() == small_model().state_dict().keys()


def test_frozen_statistics_are_used_and_left_alone_until_training_is_set_again():
    model = small_model().train()
    freeze_statistics(model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    model({"pose": torch.rand(3, 5, 4, 8, 8)})
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert model.heads["pose"].dropout.training
    model.train()({"pose": torch.rand(3, 5, 4, 8, 8)})
    assert not all(torch.equal(value, before[name]) for name, value in model.named_buffers())
