"""Run a pickle as data: whatever classes and functions it names, none is imported or called.

A pickle is a program for a small machine. The machine here is our own: it knows a handful of names, those that tensors
and ordered dictionaries are made of, and treats them as data too; every other name becomes an inert `Foreign` that
swallows whatever the program does to it. A file can therefore be wrong, but it cannot act.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

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
