"""Pickles read as data: no class or function that a file names is imported or called.

A pickle is a program. Python's own unpickler runs it here with everything removed that could act: it knows only the
operations listed below, a name in the file becomes an inert `Foreign`, and a call has a result only if its name is one
of a few (tensors, numpy arrays, ordered dictionaries). These are made by functions of this file, which check every size
against the bytes there are. A file can be wrong, but it cannot act.

`torch.load(pickle_module=...)` accepts such an unpickler, but trusts the file everywhere else: in the older format a
tensor whose storage is missing is filled with whatever was in memory, storages are allocated at the size they claim,
and an archive with TorchScript is run.
"""

from __future__ import annotations

import functools
import io
import math
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgkit.errors import MgkitError
from mgkit.files import atomic

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Damaged",
    "Foreign",
    "NotTorch",
    "TensorRef",
    "load_pickle",
    "plain_name",
    "unpickle",
    "unpickle_stream",
    "write_pickle",
]


def plain_name(name: object) -> str:
    """A name in a file, cut to 200 characters and without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(name)[:200])


class Damaged(Exception):
    """The bytes are not what they claim to be; the message names the part."""


class Refused(Exception):
    """A pickle asks for something that is not admitted."""


@dataclass(frozen=True)
class Foreign:
    """Placeholder for an object that only code outside mgkit could make. `name` is that code's name in the file."""

    name: str


@dataclass(frozen=True)
class StorageRef:
    """A storage in a file: its key, torch's name for its type ("Float"), and the first element of a view of it."""

    key: str
    kind: str
    start: int

    @property
    def dtype(self) -> Any:
        """The torch.dtype of its elements."""
        import torch

        return getattr(torch, _DTYPES[self.kind])


@dataclass(frozen=True)
class TensorRef:
    """A tensor as described in a file, in elements of its storage; not yet checked against the bytes."""

    storage: StorageRef
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, data: bytearray) -> Tensor:
        """The tensor, a view of the bytes of its storage.

        Raises:
            Damaged: it would reach beyond them, or repeat them.
        """
        import torch

        dtype, start = self.storage.dtype, self.storage.start + self.offset
        elements = len(data) // dtype.itemsize
        count = math.prod(self.size)
        last = start + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if count and (last >= elements or count > elements):
            raise Damaged("a tensor is larger than its storage")
        if not count:
            return torch.empty(self.size, dtype=dtype)
        whole = torch.frombuffer(data, dtype=dtype, count=elements)
        return whole.as_strided(self.size, self.stride, start)


# torch.FloatStorage and so on; torch describes newer types in another way.
_DTYPES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
    "ComplexDouble": "complex128", "ComplexFloat": "complex64",
}  # fmt: skip
_STORAGES = {f"{module}.{kind}Storage": kind for kind in _DTYPES for module in ("torch", "torch.cuda")}


# The unpickler

# The one in Python: its memo is a dictionary, while the one in C allocates room for 2**31 objects if a damaged byte
# says so. `Any`: it has no types.
_PythonUnpickler: Any = pickle._Unpickler

# Types of keys, alone or in a tuple: hashing tuples of tuples of tuples can end the process.
_KEYS = (str, int, float, bytes, type(None), np.number, np.bool_)


class _Unpickler(_PythonUnpickler):
    """An unpickler that runs nothing: tensors become references, and all other objects Foreign.

    The result holds only None, numbers, strings, bytes, lists, tuples, dictionaries, references and Foreign. It may be
    deep, or hold one list many times: never compare, hash or print it as a whole.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(
            stream, encoding="latin1"
        )  # keeps the bytes of an array that Python 2 pickled as text
        self.storages: dict[str, StorageRef] = {}

    # Decisions that a subclass changes

    def find_class(self, module: str, name: str) -> Foreign:
        return Foreign(plain_name(f"{module}.{name}"))

    def persistent_load(self, pid: Any) -> Any:
        """A storage: ("storage", type, key, device, elements), and in the older format (view's key, offset, size)."""
        match pid:
            case ("storage", Foreign(name), str(key), _, int(), *view) if name in _STORAGES:
                start = view[0][1] if view and view[0] is not None else 0
                ref = StorageRef(key, _STORAGES[name], _index(start))
                if self.storages.setdefault(key, ref).kind != ref.kind:
                    raise Damaged("one of its storages has two types")
                return ref
        return Foreign("an object outside the file")

    def make(self, name: str, arguments: Any) -> Any:
        """The result of calling `name` with `arguments`: a tensor, a dictionary, or something Foreign."""
        match name, arguments:
            case "collections.OrderedDict", ():
                return {}
            case "collections.OrderedDict", (list(pairs),):
                items = [
                    x for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2 for x in pair
                ]
                return self.set_items({}, items)
            case (
                "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor",
                (StorageRef() as storage, offset, tuple(size), tuple(stride), *_),
            ) if len(size) == len(stride):
                return TensorRef(
                    storage, _index(offset), tuple(map(_index, size)), tuple(map(_index, stride))
                )
            case (
                "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state",
                (TensorRef() as tensor, *_),
            ):
                return tensor
            case "torch._tensor._rebuild_from_type_v2", (
                Foreign("torch._utils._rebuild_tensor_v2" as rebuild),
                Foreign("torch.Tensor" | "torch.nn.parameter.Parameter"),
                tuple(inner),
                _,
            ):
                return self.make(rebuild, inner)
        return Foreign(name)

    def set_state(self, state: Any, made: Any) -> None:
        """Do nothing: this is the state of an object that was not made, or the attributes of an OrderedDict."""

    def skip_key(self) -> None:
        """Do nothing: entries whose key is not plain are left out."""

    # Called by the operations

    def get_extension(self, code: int) -> None:
        self.stack.append(self.find_class("copyreg", f"extension {code}"))

    def _instantiate(self, maker: Any, arguments: Any) -> None:
        self.call(tuple(arguments), maker)

    def frame(self, size: int) -> None:
        self._unframer.load_frame(size)
        if self._unframer.current_frame.getbuffer().nbytes < size:
            raise Damaged("it is cut short")

    def call(self, arguments: Any, maker: Any) -> None:
        name = maker.name if isinstance(maker, Foreign) else "an unnamed object"
        self.stack.append(self.make(name, arguments))

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def set_items(self, target: Any, items: list[Any]) -> Any:
        """Set alternating keys and values of a dictionary; anything else stays as it is."""
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if all(isinstance(part, _KEYS) for part in (key if isinstance(key, tuple) else (key,))):
                    target[key] = value
                else:
                    self.skip_key()
        return target

    def to_dict(self, items: list[Any]) -> None:
        self.stack.append(self.set_items({}, items))

    def to_set(self, kind: str) -> None:
        self.stack.append(self.find_class("builtins", kind))


# Operations used as they are: they push literals, arrange the stack, or end in a method above.
_LEFT_AS_THEY_ARE = """
    PROTO STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST EMPTY_DICT
    GLOBAL STACK_GLOBAL INST OBJ EXT1 EXT2 EXT4 PERSID BINPERSID
""".split()
# Operations replaced by ours. Any other, also one that a later Python adds, is refused.
_OURS: dict[str, Callable[[Any], Any]] = {
    "REDUCE": lambda m: m.call(m.stack.pop(), m.stack.pop()),
    "NEWOBJ": lambda m: m.call(m.stack.pop(), m.stack.pop()),
    "NEWOBJ_EX": lambda m: m.call((m.stack.pop(), m.stack.pop())[1], m.stack.pop()),
    "BUILD": lambda m: m.set_state(m.stack.pop(), m.stack[-1]),
    "APPEND": lambda m: m.extend([m.stack.pop()]),
    "APPENDS": lambda m: m.extend(m.pop_mark()),
    "SETITEM": lambda m: m.set_items(items=[m.stack.pop(), m.stack.pop()][::-1], target=m.stack[-1]),
    "SETITEMS": lambda m: m.set_items(items=m.pop_mark(), target=m.stack[-1]),
    "DICT": lambda m: m.to_dict(m.pop_mark()),
    "EMPTY_SET": lambda m: m.to_set("set"),
    "ADDITEMS": lambda m: m.pop_mark(),
    "FROZENSET": lambda m: (m.pop_mark(), m.to_set("frozenset")),
    "FRAME": lambda m: m.frame(struct.unpack("<Q", m.read(8))[0]),
    # made by reading, so that a false length allocates nothing
    "BYTEARRAY8": lambda m: m.stack.append(bytearray(m.read(struct.unpack("<Q", m.read(8))[0]))),
}
_Unpickler.dispatch = {
    getattr(pickle, name)[0]: _OURS.get(name) or _PythonUnpickler.dispatch[getattr(pickle, name)[0]]
    for name in [*_LEFT_AS_THEY_ARE, *_OURS]
}


def _index(value: Any) -> int:
    # The message does not show the value: a list that holds itself many times over would never end.
    if type(value) is not int or not 0 <= value < 2**62:
        raise Damaged("a size or position in it is not a count")
    return value


def _run(unpickler: Any) -> Any:
    try:
        return unpickler.load()
    except (Damaged, Refused):
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise Damaged(plain_name(f"{type(error).__name__}: {error}")) from None


def unpickle(content: bytes) -> Any:
    """The content of a pickle, with references in place of tensors and Foreign in place of other objects.

    Raises:
        Damaged: it is not a pickle, or is cut short.
    """
    return _run(_Unpickler(io.BytesIO(content)))


# The format of torch before its zip archives, and of tensors in other pickles to this day

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class NotTorch(Damaged):
    """The bytes do not even begin like a file of torch."""


def unpickle_stream(stream: Any) -> tuple[Any, Callable[[TensorRef], Tensor]]:
    """Read five pickles (magic number, protocol, system, content, storage keys), then each storage: length, bytes.

    Args:
        stream: a BytesIO or an mmap, whose `read` allocates no more than there are bytes.

    Returns:
        the content with references in place of tensors, and a function from a reference to its tensor.

    Raises:
        NotTorch: it does not begin with the magic number.
        Damaged: it is cut short, or a tensor does not fit its storage.
    """
    stream.seek(0, io.SEEK_END)
    length = stream.tell()
    stream.seek(0)
    try:
        magic = _run(_Unpickler(stream))
    except Damaged:
        magic = None
    if magic != _MAGIC:
        raise NotTorch("it does not begin as a file of torch")
    if _run(_Unpickler(stream)) != _PROTOCOL:
        raise Damaged("its protocol is unknown")
    _run(_Unpickler(stream))  # the system it was written on; the bytes are little-endian in any case
    unpickler = _Unpickler(stream)
    content = _run(unpickler)
    keys = _run(_Unpickler(stream))
    places: dict[str, tuple[int, int]] = {}
    for key in keys if isinstance(keys, list) else ():
        head = stream.read(8)
        if not isinstance(key, str) or key not in unpickler.storages or len(head) < 8:
            raise Damaged("it ends before the last of its storages")
        size = struct.unpack("<q", head)[0] * unpickler.storages[key].dtype.itemsize
        start = stream.tell()
        if not 0 <= size <= length - start:
            raise Damaged("it ends within one of its storages")
        places[key] = start, size
        stream.seek(start + size)

    @functools.cache
    def storage(key: str) -> bytearray:
        if key not in places:
            raise Damaged("one of its storages is missing")
        start, size = places[key]
        stream.seek(start)
        return bytearray(stream.read(size))

    return content, lambda ref: ref.of(storage(ref.storage.key))


# Pickles of datasets and scores: plain containers, numpy arrays and tensors


@dataclass
class _Dtype:
    """A type of numbers, text or objects, as a file describes it.

    numpy.dtype itself trusts a file about its internals, for example that bytes are pointers into memory.
    """

    code: str
    order: Any = "="

    @property
    def numpy(self) -> np.dtype[Any]:
        if not re.fullmatch("[biufcSUO][1-9][0-9]*", self.code):
            raise Refused(f"it holds an array of the type {plain_name(self.code)}")
        return np.dtype(self.code).newbyteorder(self.order)


# Every name that is admitted; `numpy.ndarray` only as an argument of `_reconstruct`.
_ADMITTED = {
    f"{core}.{name}"
    for core in ("numpy.core", "numpy._core")  # numpy 1, numpy 2
    for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
} | {
    "numpy.ndarray", "numpy.dtype", "collections.OrderedDict", "torch._utils._rebuild_tensor_v2",
    "torch.storage._load_from_bytes", "_codecs.encode", "builtins.bytes", "__builtin__.bytes",
}  # fmt: skip


class _Plain(_Unpickler):
    """An unpickler that makes arrays of arrays and tensors, and refuses all other names."""

    def find_class(self, module: str, name: str) -> Foreign:
        if f"{module}.{name}" not in _ADMITTED:
            raise Refused(plain_name(f"it asks for {module}.{name}"))
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("it asks for an object outside the file")

    def skip_key(self) -> None:
        raise Refused("it has a key that is not plain")

    def make(self, name: str, arguments: Any) -> Any:
        match name.replace("numpy.core.", "numpy._core."), arguments:
            case "numpy._core.multiarray._reconstruct", (Foreign("numpy.ndarray"), _, _):
                return np.zeros(0)  # its state follows
            case "numpy._core.multiarray.scalar", (_Dtype() as dtype, data):
                return np.frombuffer(_bytes(data), dtype.numpy, 1)[0]
            case "numpy._core.numeric._frombuffer", (
                data,
                _Dtype() as dtype,
                tuple(shape),
                "C" | "F" as order,
            ):
                return np.frombuffer(_bytes(data), dtype.numpy).reshape(shape, order=order)
            case "numpy.dtype", (str(code), *_):
                return _Dtype(code)
            case "_codecs.encode", (str(text), "latin1"):  # how protocol 2 carries bytes
                return text.encode("latin1")
            case "builtins.bytes" | "__builtin__.bytes", ():  # how it carries none
                return b""
            case "torch.storage._load_from_bytes", (bytes(content),):
                storage, tensor = unpickle_stream(io.BytesIO(content))
                if isinstance(storage, StorageRef):
                    return storage, tensor
            case "torch._utils._rebuild_tensor_v2", ((StorageRef() as storage, tensor), *described):
                ref = super().make(name, (storage, *described))
                if isinstance(ref, TensorRef):
                    found = tensor(ref)
                    return (found.float() if storage.kind == "BFloat16" else found).numpy()
            case "collections.OrderedDict", () | (list(),):
                return super().make(name, arguments)
        raise Refused(f"it asks for {name} in an unknown way")

    def set_state(self, state: Any, made: Any) -> None:
        match made, state:
            case _Dtype(), (_, "<" | ">" | "=" | "|" as order, None, None, None, *_):
                made.order = order
            case np.ndarray(), (*_, tuple(shape), _Dtype() as dtype, order, data) if not made.size:
                kind, count = dtype.numpy, math.prod(map(_index, shape))
                data = data if isinstance(data, list) else _bytes(data)
                if isinstance(data, list) != kind.hasobject or len(data) != count * (
                    kind.hasobject or kind.itemsize
                ):
                    raise Damaged("an array in it is cut short")
                restore: Any = made.__setstate__
                restore((1, shape, kind, bool(order), data))
            case dict(), _:
                pass  # the attributes of an OrderedDict
            case _:
                raise Refused("it sets what an object is made of")


def _bytes(data: Any) -> bytes | bytearray:
    """The bytes of an array, which Python 2 pickled as text."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise Damaged("an array in it has no bytes")
    return data


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of plain containers, numpy arrays and torch tensors; anything else is refused.

    Returns:
        the content; tensors come as arrays (bfloat16 as float32), ordered dictionaries as dictionaries.

    Raises:
        MgkitError: the file is missing, is not a pickle, is cut short, or holds other objects.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MgkitError(
            f"{path} cannot be read ({error.strerror}): check the path and its permissions"
        ) from None
    other = next(
        (what for start, what in _OTHER_FILES.items() if content[:99].lstrip().startswith(start)), None
    )
    if other:
        raise MgkitError(f"{path} is not a pickle but {other}")
    try:
        return _run(_Plain(io.BytesIO(content)))
    except Refused as error:
        raise MgkitError(
            f"{path} was not read: {error}. As a pickle can run code, only arrays and plain containers are admitted; "
            "nothing of it was run. Ask its author for a file with arrays only"
        ) from None
    except Damaged as error:
        raise MgkitError(
            f"{path} is not a readable pickle ({error}): copy it again, or give another file"
        ) from None


# What is often saved under the name of a pickle; none begins as a pickle can.
_OTHER_FILES = {
    b"\x1f\x8b": "compressed by gzip: unpack it (gunzip) and give what is inside",
    b"7z\xbc\xaf": "a 7z archive: unpack it and give what is inside",
    b"version https://git-lfs": "the pointer that Git LFS leaves in its place: fetch the file with `git lfs pull`",
    b"<": "a page of HTML, as a failed download leaves: download it again",
    b"{": "text (JSON?): give the pickle",
    b"\x89HDF": "HDF5: give the pickle",
}


# Writing

_PythonPickler: Any = pickle._Pickler  # the one in Python, whose way of writing names can be changed


class _AnyNumpy(_PythonPickler):
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
            f"{where} is a {type(value).__name__}: only plain containers and arrays can be written"
        )
