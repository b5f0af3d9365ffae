import contextlib
import io
import pickle
import sys
import types
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models import read_checkpoint
from tests.models.weights import checkpoint_bytes as bytes_of

FORMATS = [{}, {"_use_new_zipfile_serialization": False}]


@contextlib.contextmanager
def toolbox():
    """Modules of a training toolbox, there while a file is written and gone when it is read."""
    modules = {name: types.ModuleType(name) for name in ("mmengine", "mmengine.logging", "mmengine.config")}

    def define(module, name, base=object, **members):
        kind = type(name, (base,), {"__module__": module, "__qualname__": name, **members})
        setattr(modules[module], name, kind)
        return kind

    define("mmengine.logging", "HistoryBuffer", _smooth=staticmethod(len))
    define("mmengine.config", "ConfigDict", dict)
    define("mmengine.config", "Whole", torch.nn.Linear)
    define("mmengine.config", "Names", list)
    sys.modules.update(modules)
    try:
        yield types.SimpleNamespace(**{k: v for m in modules.values() for k, v in vars(m).items()})
    finally:
        for name in modules:
            del sys.modules[name]


def published(state, box):
    """A file as MMEngine's runner saves it, with entries that torch.load(weights_only=True) refuses."""
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.grad = torch.ones(2, 3)
    optimizer.step()
    history = box.HistoryBuffer()
    history.values = np.arange(7.0)
    history.methods = {"mean": np.mean, "own": box.HistoryBuffer}
    return {
        "meta": {
            "epoch": 24,
            "seed": np.int64(3),
            "config": box.ConfigDict(model=box.ConfigDict(type="Recognizer3D"), names=box.Names(["a"])),
            "counts": defaultdict(list, {1: [2]}),
            ("a", "key"): torch.Size([3]),
            history: {1, 2},
        },
        "state_dict": state,
        "message_hub": {"log_scalars": OrderedDict(loss=history), "runtime_info": OrderedDict()},
        "optimizer": optimizer.state_dict(),
        "param_schedulers": [{"milestones": [9, 11]}],
    }


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch's, which then refuses the file
@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_published_file_is_read_without_its_toolbox(tmp_path, how, protocol):
    state = torch.nn.Sequential(torch.nn.Conv3d(2, 3, 1), torch.nn.BatchNorm3d(3)).state_dict()
    assert state._metadata  # attributes on a dictionary, as every state dict has them
    path = tmp_path / "published.pth"
    with toolbox() as box:
        torch.save(published(state, box), path, pickle_protocol=protocol, **how)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    with pytest.raises(ModuleNotFoundError):
        torch.load(path, weights_only=False)
    file = read_checkpoint(path)
    assert file.part == "state_dict"
    assert file.left == dict.fromkeys(["meta", "message_hub", "optimizer", "param_schedulers"], "not weights")
    assert list(file.state) == list(state)
    assert all(torch.equal(file.state[name], value) for name, value in state.items())
    assert not [name for name in sys.modules if name.startswith("mmengine")]


@pytest.mark.parametrize("how", FORMATS)
def test_every_dtype_and_layout_comes_back(tmp_path, how):
    base = torch.arange(48.0)
    kinds = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex128 complex64".split()
    state = {kind: torch.arange(6).reshape(2, 3).to(getattr(torch, kind)) for kind in kinds}
    state |= {
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 4),
        "transposed": base.reshape(6, 8).T,
        "view": base[10:20:3],
        "shared": base,
        "channels last": torch.randn(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    torch.save(state, tmp_path / "a.pth", **how)
    loaded = read_checkpoint(tmp_path / "a.pth").state
    reference = torch.load(tmp_path / "a.pth", weights_only=True)
    assert list(loaded) == list(state)
    for name, value in reference.items():
        assert loaded[name].dtype == value.dtype
        assert loaded[name].stride() == value.stride()
        assert torch.equal(loaded[name], value.data)
    loaded["shared"][0] = 5  # the memory is the tensor's own to write


def test_old_storages_that_are_views(tmp_path):
    view = bytes_of.storage()[: -len(b"tQ")] + bytes_of.body(("view", 1, 2)) + b"tQ"
    path = bytes_of.write_legacy(
        tmp_path / "a.pth", bytes_of.checkpoint(value=bytes_of.tensor(size=(2,), of=view))
    )
    assert torch.equal(read_checkpoint(path).state["a"], bytes_of.VALUES[1:])


def test_what_is_not_a_plain_tensor_is_left(tmp_path):
    state = {
        "a": torch.zeros(2),
        "s": torch.eye(2).to_sparse(),
        "steps": 3,
    }
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    file = read_checkpoint(tmp_path / "a.pth")
    assert list(file.state) == ["a"]
    assert file.left == {
        "s": "not a plain tensor (torch._utils._rebuild_sparse_tensor)",
        "steps": "not a plain tensor",
    }


# Which of a file's weights


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (lambda s: s, ""),
        (lambda s: {"state_dict": s, "meta": {"epoch": 1}}, "state_dict"),
        (lambda s: {"model": s, "objective": {"b": torch.zeros(1)}, "epoch": 1}, "model"),
        (lambda s: {"model": {"state_dict": s}, "epoch": torch.tensor(1)}, "model.state_dict"),
        (lambda s: {"ema": {"module": s}}, "ema.module"),
        (lambda s: {"ema_state_dict": {"b": torch.zeros(1)}, "state_dict": s}, "state_dict"),
        (lambda s: {"epoch": 3, "ema_state_dict": s}, "ema_state_dict"),
        (lambda s: {"weights of mine": s}, "weights of mine"),
    ],
)
def test_the_weights_are_found(tmp_path, content, part):
    state = {"a": torch.arange(3.0)}
    torch.save(content(state), tmp_path / "weights.pth")
    file = read_checkpoint(tmp_path / "weights.pth")
    assert file.part == part
    assert list(file.state) == ["a"]
    assert torch.equal(file.state["a"], state["a"])


def test_a_part_can_be_chosen(tmp_path):
    path = tmp_path / "a.pth"
    a, b = {"a": torch.zeros(1)}, {"b": torch.zeros(1)}
    torch.save({"state_dict": a, "model_ema": b, "epoch": 3}, path)
    other = "other weights: part='model_ema' takes them"
    assert read_checkpoint(path).left == {"model_ema": other, "epoch": "not weights"}
    assert list(read_checkpoint(path, "model_ema").state) == ["b"]
    with pytest.raises(MgkitError, match=r"no weights under 'ema', but state_dict, model_ema"):
        read_checkpoint(path, "ema")
    torch.save({"teacher": a, "student": b}, path)
    with pytest.raises(MgkitError, match="weights under teacher, student: choose one with part="):
        read_checkpoint(path)


# Files that are something else


def test_a_whole_pickled_model_is_refused_with_its_remedy(tmp_path):
    path = tmp_path / "whole.pth"
    with toolbox() as box:
        whole = box.Whole(2, 3)
        torch.save(whole, path)
        for content in (whole, {"model": whole, "epoch": 3}):
            torch.save(content, path)
            with pytest.raises(
                MgkitError,
                match=r"whole\.pth holds a whole pickled object \(mmengine\.config\.Whole\).*state_dict\(\)",
            ):
                read_checkpoint(path)


def test_other_files_are_explained(tmp_path):
    path = tmp_path / "file.pth"
    with pytest.raises(MgkitError, match=r"no checkpoint .*file\.pth"):
        read_checkpoint(path)
    with pytest.raises(MgkitError, match=r"is a folder, not a checkpoint.*checkpoints/best\.pt"):
        read_checkpoint(tmp_path)
    for content, message in [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "not a torch checkpoint; it begins with b'<!DOCTYPE html"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (pickle.dumps({"a": [1, 2]}), "not a torch checkpoint"),
        (b"PK\x03\x04 and then nothing", "cannot be read as a torch checkpoint"),
        (b"\x80", "not a torch checkpoint"),
    ]:
        path.write_bytes(content)
        with pytest.raises(MgkitError, match=message):
            read_checkpoint(path)
    for content, message in [
        ([torch.zeros(1)], r"file\.pth is not a state dict"),
        ({}, "no weights"),
        ({"epoch": 3}, "no weights, only epoch"),
        ({"optimizer": {"state": {0: {"momentum": torch.zeros(1)}}}}, "no weights, only optimizer"),
    ]:
        torch.save(content, path)
        with pytest.raises(MgkitError, match=message):
            read_checkpoint(path)


def test_archives_of_other_kinds_are_explained(tmp_path):
    for records, message in [
        ({"constants_pkl": b""}, "TorchScript"),
        ({"byteorder": b"big"}, "big-endian"),
    ]:
        path = bytes_of.write_zip(tmp_path / "a.pth", bytes_of.checkpoint(), **records)
        with pytest.raises(MgkitError, match=message):
            read_checkpoint(path)
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with pytest.raises(MgkitError, match=r"zip archive, but not one of torch\.save"):
        read_checkpoint(tmp_path / "a.npz")


@pytest.mark.parametrize("how", FORMATS)
def test_a_download_that_stopped_early_is_noticed_wherever_it_did(tmp_path, how):
    whole = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(50), "b": torch.ones(50)}}, whole, **how)
    raw = whole.getvalue()
    path = tmp_path / "cut.pth"
    for length in range(1, len(raw), 7):
        path.write_bytes(raw[:length])
        with pytest.raises(MgkitError, match=r"cut\.pth"):
            read_checkpoint(path)


def test_damaged_bytes_are_noticed(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(50)}, path)
    raw = bytearray(path.read_bytes())
    at = raw.index(bytes(200))
    raw[at + 60] = 1
    path.write_bytes(raw)
    with pytest.raises(MgkitError, match="Bad CRC"):
        read_checkpoint(path)
