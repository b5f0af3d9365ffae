"""Tensors in a plain pickle, as arrays: what torch would call to make them is not called, and torch is not needed.

A tensor that is pickled on its own (not by `torch.save`) is `torch._utils._rebuild_tensor_v2` of a storage, and the
storage is the bytes that `torch.save` once wrote for it: five pickles (magic number, protocol, system, the storage's
description, its key), the number of elements, and the elements. `torch.storage._load_from_bytes`, which would read
them, runs whatever those pickles hold. Here they are read with nothing admitted but the description of a storage.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

_DTYPES: dict[str, np.dtype[Any]] = {
    "Double": np.dtype("<f8"), "Float": np.dtype("<f4"), "Half": np.dtype("<f2"), "BFloat16": np.dtype("<u2"),
    "Long": np.dtype("<i8"), "Int": np.dtype("<i4"), "Short": np.dtype("<i2"), "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"), "Bool": np.dtype("?"),
}  # fmt: skip


class NotATensor(Exception):
    """The bytes do not describe a tensor; the message says why."""


# The one in Python: a damaged byte cannot make it take memory for 2**31 objects. `Any`, since it has no types.
_Unpickler: Any = pickle._Unpickler


class _Described(_Unpickler):
    """Reads the description of a storage, and nothing else."""

    dispatch = {key: do for key, do in _Unpickler.dispatch.items() if key != pickle.BYTEARRAY8[0]}

    def find_class(self, module: str, name: str) -> Any:
        kind = name.removesuffix("Storage")
        if module not in ("torch", "torch.cuda") or kind not in _DTYPES or name == kind:
            raise NotATensor(f"it asks for {module}.{name}")
        return kind

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or pid[1] not in _DTYPES:
            raise NotATensor("it asks for an object outside the file")
        return pid


def storage_of(content: bytes) -> npt.NDArray[Any]:
    """The elements (n,) of a storage, of the bytes that a pickled tensor carries; bfloat16 becomes float32.

    Raises:
        NotATensor: the bytes are not a storage, or are cut short.
    """
    stream = io.BytesIO(content)
    try:
        magic, protocol, _, described, _ = (_Described(stream).load() for _ in range(5))
        if (magic, protocol) != (MAGIC, PROTOCOL) or not isinstance(described, tuple):
            raise NotATensor("a tensor in it is not one of torch's")
        (count,) = struct.unpack("<q", stream.read(8))
        dtype = _DTYPES[described[1]]
        data = stream.read()
        if count < 0 or count * dtype.itemsize != len(data):
            raise NotATensor("a tensor in it is cut short")
    except NotATensor:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise NotATensor(f"a tensor in it is damaged ({type(error).__name__})") from None
    array = np.frombuffer(data, dtype)
    if described[1] == "BFloat16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array


def tensor_of(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> npt.NDArray[Any]:
    """A tensor, of what a pickle says of it: elements, offset, size and strides, checked against the elements.

    Raises:
        NotATensor: it would reach beyond its storage.
    """
    counts = [offset, *size, *stride] if isinstance(size, tuple) and isinstance(stride, tuple) else [None]
    if not isinstance(storage, np.ndarray) or any(type(n) is not int or not 0 <= n < 2**40 for n in counts):
        raise NotATensor("a tensor in it has no shape")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= storage.size or count > storage.size):
        raise NotATensor("a tensor in it is larger than its storage")
    if not count:
        return np.zeros(size, storage.dtype)
    strides = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides).copy()
