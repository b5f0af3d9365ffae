"""Pickled tensors, read as arrays without what `torch.load` would run."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.pickles import load_pickle
from tests.models.weights.checkpoint_bytes import body
from tests.test_pickles import HOSTILE

BASE = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
TENSORS = {
    "float": BASE, "double": BASE.double(), "half": BASE.half(), "bfloat16": BASE.bfloat16(), "long": BASE.long(),
    "int": BASE.int(), "short": BASE.short(), "char": BASE.to(torch.int8), "byte": BASE.to(torch.uint8),
    "bool": BASE > 1, "transposed": BASE.t(), "a row": BASE[2], "every other": BASE[1::2, ::3], "a number": BASE[1, 1],
    "none": torch.zeros(0), "no rows": torch.zeros(0, 3), "with gradient": torch.ones(2, requires_grad=True),
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_come_back_as_arrays(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([TENSORS, {"shared": [BASE, BASE]}], protocol))
    found, shared = load_pickle(path)
    for name, tensor in TENSORS.items():
        expected = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
        np.testing.assert_array_equal(found[name], expected.numpy(), err_msg=name)
        assert found[name].dtype == expected.numpy().dtype, name
    assert shared["shared"][0] is shared["shared"][1]


class Storage:
    """Pickles to the bytes that torch would load a storage from, whatever they hold."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> Any:
        return torch.storage._load_from_bytes, (self.content,)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", HOSTILE)
def test_nor_what_is_in_the_bytes_of_a_tensor(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO()
    torch.save(BASE.untyped_storage(), stream, _use_new_zipfile_serialization=False)
    for content in (HOSTILE[name], stream.getvalue()[:-120] + HOSTILE[name]):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(Storage(content)))
        with pytest.raises(MgkitError, match=r"a\.pkl"):
            load_pickle(tmp_path / "a.pkl")
    assert os.listdir(tmp_path) == ["a.pkl"]


def test_every_way_to_cut_a_file_short_is_told(tmp_path: Path) -> None:
    whole = pickle.dumps(BASE, 2)
    path = tmp_path / "a.pkl"
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(MgkitError, match=r"a\.pkl"):
            load_pickle(path)


@pytest.mark.parametrize(
    "described",
    [
        (0, (5,), (1,)),
        (3, (2,), (1,)),
        (0, (2, 2), (1, 4)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (1000, 1000), (0, 0)),
        (0, (2,), (1, 1)),
        (0, [2], (1,)),
        (0, (2.0,), (1,)),
        (True, (2,), (1,)),
        (2**70, (0,), (1,)),
        (0, (2**61, 2**61, 0), (1, 1, 1)),
        (0, None, None),
    ],
)
def test_a_tensor_never_reaches_beyond_its_storage(tmp_path: Path, described: tuple[Any, Any, Any]) -> None:
    storage = body(torch.zeros(4)._typed_storage())  # type: ignore[attr-defined]
    content = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"".join(map(body, described)) + b"\x89NtR"
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + content + b".")
    with pytest.raises(MgkitError, match=r"a\.pkl"):
        load_pickle(tmp_path / "a.pkl")
