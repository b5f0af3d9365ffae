"""Run a pickle as data: whatever classes and functions it names, none is imported or called.

A pickle is a program for a small machine. The machine here is our own: it knows a handful of names, those that tensors
and ordered dictionaries are made of, and treats them as data too; every other name becomes an inert `Foreign` that
swallows whatever the program does to it. A file can therefore be wrong, but it cannot act.

Pickles of plain containers and numpy arrays: read without running anything, written so that any numpy reads them.

Tensors in a plain pickle, as arrays: what torch would call to make them is not called, and torch is not needed.

A tensor that is pickled on its own (not by `torch.save`) is `torch._utils._rebuild_tensor_v2` of a storage, and the
storage is the bytes that `torch.save` once wrote for it: five pickles (magic number, protocol, system, the storage's
description, its key), the number of elements, and the elements. `torch.storage._load_from_bytes`, which would read
them, runs whatever those pickles hold. Here they are read with nothing admitted but the description of a storage.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mgkit.errors import MgkitError
from mgkit.files import atomic

__all__ = ["Damaged", "Foreign", "Machine", "Source", "StorageRef", "TensorRef", "plain_name"]


def plain_name(name: object) -> str:
    """A name in a file, short and without what a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in str(name)[:200])


class Damaged(Exception):
    """The pickle is not one of torch.save's; the message says where."""


@dataclass(frozen=True)
class Foreign:
    """Stands for an object that only code we do not run could make. `name` is the code's name in the file."""

    name: str

    @staticmethod
    def named(name: str) -> Foreign:
        """With a name fit for a message."""
        return Foreign(plain_name(name))


@dataclass(frozen=True)
class StorageRef:
    """Elements of one storage in the file; `start` is where a (very old) file's view of it begins."""

    key: str
    dtype: torch.dtype
    start: int


@dataclass(frozen=True)
class TensorRef:
    """A tensor as the file describes it, in elements of its storage; nothing is checked against the bytes yet."""

    storage: StorageRef
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


_DTYPES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
}
_STORAGES = {
    f"{module}.{name}Storage": dtype for name, dtype in _DTYPES.items() for module in ("torch", "torch.cuda")
}


# The machine

# What a dictionary key may be: hashing a tuple of tuples of tuples can end the process.
_KEYS = (str, int, float, bytes, type(None))


@dataclass
class Source:
    """Bytes with the three methods that pickletools reads through."""

    data: bytes
    at: int = 0

    def read(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        self.at += len(taken)
        return taken

    def readline(self) -> bytes:
        end = self.data.find(b"\n", self.at) + 1
        return self.read((end or len(self.data)) - self.at)

    def tell(self) -> int:
        return self.at


@dataclass
class Machine:
    """Run one pickle as data. pickletools splits it into operations and their literal arguments, and runs nothing.

    The result holds only None, numbers, strings, bytes, lists, tuples, dictionaries, references and Foreign. It may
    be deep, or hold one list many times: it is not to be compared, hashed or printed whole.
    """

    source: Any
    storages: dict[str, StorageRef] = field(default_factory=dict)
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self) -> Any:
        try:
            for operation, argument, _ in pickletools.genops(self.source):
                if operation.name == "STOP":
                    return self.stack.pop()
                self._step(operation.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
            raise Damaged(f"{type(error).__name__}: {str(error)[:200]}") from None
        raise Damaged("its pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[argument])
            case "MARK":
                self.marks.append(stack)
                self.stack = []
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                last = tuple(stack[-int(name[-1]) :])
                if len(last) < int(name[-1]):
                    raise IndexError("a tuple of nothing")
                stack[-len(last) :] = [last]
            case "TUPLE":
                self._to_outer(tuple)
            case "EMPTY_LIST":
                stack.append([])
            case "LIST":
                self._to_outer(list)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                self._to_outer(lambda items: _set_items({}, items))
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(stack[-1], [key, value])
            case "SETITEMS":
                items = self._pop_mark()
                _set_items(self.stack[-1], items)
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if name == "APPEND" else self._pop_mark()
                if isinstance(self.stack[-1], list):
                    self.stack[-1].extend(items)
            case "GLOBAL":
                stack.append(Foreign.named(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                names = (
                    (module, attribute) if isinstance(module, str) and isinstance(attribute, str) else ("?",)
                )
                stack.append(Foreign.named(".".join(names)))
            case "REDUCE" | "NEWOBJ":
                arguments, made_by = stack.pop(), stack.pop()
                stack.append(_call(made_by, arguments))
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case "BUILD":
                stack.pop()  # the state of an object that we have not made, or the attributes of an OrderedDict
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._pop_mark()
            case "DUP":
                stack.append(stack[-1])
            case "EMPTY_SET":
                stack.append(Foreign("builtins.set"))
            case "ADDITEMS":
                self._pop_mark()
            case "FROZENSET":
                self._to_outer(lambda items: Foreign("builtins.frozenset"))
            case "NEWOBJ_EX":
                stack[-3:] = [_call(stack[-3], None)]
            case "INST":
                self._to_outer(lambda items: Foreign.named(argument.replace(" ", ".", 1)))
            case "OBJ":
                self._to_outer(lambda items: _call(items[0], None))
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(Foreign(f"pickle extension {argument}"))
            case "PERSID" | "NEXT_BUFFER":
                stack.append(Foreign("an object outside the file"))
            case "PROTO" | "FRAME" | "READONLY_BUFFER":
                pass
            case _:
                if argument is None:
                    raise Damaged(f"its pickle has an unknown operation {name}")
                stack.append(argument)  # a number, string or bytes

    def _pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _to_outer(self, make: Callable[[list[Any]], Any]) -> None:
        made = make(self._pop_mark())
        self.stack.append(made)

    def _persistent(self, identity: Any) -> Any:
        """A storage: ("storage", type, key, device, elements), in the older format then (view's key, offset, size)."""
        match identity:
            case ("storage", Foreign(name), str(key), _, int(), *view) if name in _STORAGES:
                start = view[0][1] if view and view[0] is not None else 0
                ref = StorageRef(key, _STORAGES[name], _index(start))
                if self.storages.setdefault(key, ref).dtype != ref.dtype:
                    raise Damaged(f"its storage {key} has two types")
                return ref
        return Foreign("an object outside the file")


def _set_items(target: Any, items: list[Any]) -> Any:
    """Set keys and values, given in turn, of a dictionary; of anything else, nothing."""
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, _KEYS):
                target[key] = value
    return target


def _call(made_by: Any, arguments: Any) -> Any:
    """What the file says that `made_by` makes of `arguments`: a tensor, a dictionary, or something Foreign."""
    name = made_by.name if isinstance(made_by, Foreign) else "an unnamed object"
    match name, arguments:
        case "collections.OrderedDict", ():
            return {}
        case "collections.OrderedDict", (list(pairs),):
            items = [x for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2 for x in pair]
            return _set_items({}, items)
        case (
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor",
            (StorageRef() as storage, offset, tuple(size), tuple(stride), *_),
        ) if len(size) == len(stride):
            return TensorRef(storage, _index(offset), tuple(map(_index, size)), tuple(map(_index, stride)))
        case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state", (
            TensorRef() as tensor,
            *_,
        ):
            return tensor
        case "torch._tensor._rebuild_from_type_v2", (
            Foreign("torch._utils._rebuild_tensor_v2") as rebuild,
            Foreign("torch.Tensor" | "torch.nn.parameter.Parameter"),
            tuple(inner),
            _,
        ):
            return _call(rebuild, inner)
    return Foreign(name)


def _index(value: Any) -> int:
    # No value of the file's is put into a message: one that holds itself twice, many times over, would not end.
    if type(value) is not int or not 0 <= value < 2**62:
        raise Damaged("a tensor has a size or position that is no count")
    return value


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


MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

_STORAGE_DTYPES: dict[str, np.dtype[Any]] = {
    "Double": np.dtype("<f8"), "Float": np.dtype("<f4"), "Half": np.dtype("<f2"), "BFloat16": np.dtype("<u2"),
    "Long": np.dtype("<i8"), "Int": np.dtype("<i4"), "Short": np.dtype("<i2"), "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"), "Bool": np.dtype("?"),
}  # fmt: skip


class NotATensor(Exception):
    """The bytes do not describe a tensor; the message says why."""


# The one in Python: a damaged byte cannot make it take memory for 2**31 objects. `Any`, since it has no types.


class _Described(_Unpickler):
    """Reads the description of a storage, and nothing else."""

    dispatch = {key: do for key, do in _Unpickler.dispatch.items() if key != pickle.BYTEARRAY8[0]}

    def find_class(self, module: str, name: str) -> Any:
        kind = name.removesuffix("Storage")
        if module not in ("torch", "torch.cuda") or kind not in _STORAGE_DTYPES or name == kind:
            raise NotATensor(f"it asks for {module}.{name}")
        return kind

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or pid[1] not in _STORAGE_DTYPES:
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
        dtype = _STORAGE_DTYPES[described[1]]
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
