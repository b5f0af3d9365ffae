"""Pickles of plain containers and numpy arrays: read without running anything, written so that any numpy reads them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mgkit.data.readers.tensors import NotATensor, storage_of, tensor_of
from mgkit.errors import MgkitError
from mgkit.files import atomic

# The ones in Python: the one can be told how to write a name; the other keeps what it may be asked for again in a
# dictionary, where that in C makes room for 2**31 of them if a damaged byte says so. `Any`: they have no types.
_Pickler: Any = pickle._Pickler
_Unpickler: Any = pickle._Unpickler

# Numpy arrays as written by numpy 1 and 2, and nothing else: a pickle can otherwise run any code when it is read.
_ADMITTED = {
    (module, name)
    for core in ("numpy.core", "numpy._core")
    for module, name in ((f"{core}.multiarray", "_reconstruct"), (f"{core}.multiarray", "scalar"),
                         (f"{core}.numeric", "_frombuffer"))
} | {("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict")}  # fmt: skip


class _Refused(Exception):
    """A pickle asks for what is not admitted."""


class _Admitting:
    """What an unpickler admits."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 carries bytes
            return _latin1
        if (module, name) in (("__builtin__", "bytes"), ("builtins", "bytes")):  # how it carries none
            return _no_bytes
        if (module, name) not in _ADMITTED:
            raise _Refused(f"it asks for {module}.{name}")
        return super().find_class(module, name)  # type: ignore[misc]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it asks for an object outside the file")


class _ArraysOnly(_Admitting, pickle.Unpickler):
    pass


class _ArraysAndTensors(_Admitting, _Unpickler):
    # Bytes that can be changed are none of an array, and their length is believed before any are read.
    dispatch = {key: do for key, do in _Unpickler.dispatch.items() if key != pickle.BYTEARRAY8[0]}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return tensor_of
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return storage_of
        return super().find_class(module, name)


def _no_bytes() -> bytes:
    return b""


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _Refused(f"it asks for the text encoding {encoding}")
    return text.encode("latin1")


def load_pickle(path: str | Path, *, tensors: bool = False) -> Any:
    """Read a pickle of plain containers and numpy arrays; anything else is refused before it can run.

    `tensors` admits torch tensors too, which become arrays.

    Raises:
        MgkitError: the file is missing, is not a pickle, is cut short, or holds other objects.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MgkitError(
            f"{path} cannot be read ({error.strerror}): check the path and its permissions."
        ) from None
    try:
        return (_ArraysAndTensors if tensors else _ArraysOnly)(io.BytesIO(content)).load()
    except (_Refused, NotATensor) as error:
        raise MgkitError(
            f"{path} was not read: {error}. Only numpy arrays and plain containers are admitted, since a pickle can "
            "run code; nothing of it was run. Ask its author for a file with arrays only."
        ) from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise MgkitError(
            f"{path} is not a readable pickle ({type(error).__name__}: {error}): copy it again, or give another file."
        ) from None


class _AnyNumpy(_Pickler):
    """Names the function that restores an array as numpy 1 called it; numpy 2 knows that name, not the other way."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is np.zeros(0).__reduce__()[0]:
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)


def write_pickle(path: str | Path, value: Any) -> None:
    """Write plain containers and numpy arrays, atomically, readable by every numpy and every Python 3.

    Raises:
        MgkitError: `value` holds something else, or the file cannot be written.
    """
    _check_plain(value, "value")
    with atomic(path) as temporary, temporary.open("wb") as file:
        _AnyNumpy(file, protocol=3).dump(value)


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            _check_plain(key, where)
            _check_plain(part, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            _check_plain(part, f"{where}[{i}]")
    elif type(value) is np.ndarray and value.dtype.kind in "biufU":
        return
    elif value is not None and type(value) not in (str, int, float, bool, bytes):
        raise MgkitError(
            f"{where} is a {type(value).__name__}: only plain containers and arrays can be written."
        )
