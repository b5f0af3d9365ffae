"""Checkpoint files put together by hand, byte by byte, so that a test can put anything into them."""

import pickle
import struct
import zipfile
from pathlib import Path

import torch

VALUES = torch.tensor([1.5, -2.0, 3.0])
PROTOCOL = b"\x80\x04"


def text(value: str) -> bytes:
    """The operation that pushes a string."""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def name(module: str, attribute: str) -> bytes:
    """The operation that asks for `module.attribute`."""
    return f"c{module}\n{attribute}\n".encode()


def body(value: object, protocol: int = 2) -> bytes:
    """The operations that make a value, without the pickle's first and last bytes."""
    return pickle.dumps(value, protocol)[11 if protocol >= 4 else 2 : -1]


def storage(key: str = "0", kind: str = "FloatStorage", elements: int = 3, module: str = "torch") -> bytes:
    return b"(" + text("storage") + name(module, kind) + text(key) + text("cpu") + body(elements) + b"tQ"


def tensor(size: tuple = (3,), stride: tuple = (1,), offset: object = 0, of: bytes | None = None) -> bytes:
    """The operations that torch.save writes for a tensor; by default those of VALUES."""
    arguments = body(offset) + body(size) + body(stride) + b"\x89" + body(None)
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + (of or storage()) + arguments + b"tR"


def checkpoint(payload: bytes = b"N", value: bytes | None = None) -> bytes:
    """The pickle of {"extra": payload, "state_dict": {"a": VALUES}}."""
    weights = b"}" + text("a") + (value or tensor()) + b"s"
    return PROTOCOL + b"}" + text("extra") + payload + b"s" + text("state_dict") + weights + b"s."


def write_zip(path: Path, content: bytes, *, compression: int = zipfile.ZIP_STORED, **records: bytes) -> Path:
    """A file as torch >= 1.6 writes it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", VALUES.numpy().tobytes())
        for record, value in records.items():
            archive.writestr(f"archive/{record.replace('_', '.')}", value)
    return path


def legacy_pickles(content: bytes) -> list[bytes]:
    """The five pickles at the beginning of a file of torch < 1.6."""
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    plain = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, system, ["0"])]
    return [*plain[:3], content, plain[3]]


def write_legacy(path: Path, content: bytes, pickles: list[bytes] | None = None) -> Path:
    """A file as torch < 1.6 wrote it."""
    stored = struct.pack("<q", len(VALUES)) + VALUES.numpy().tobytes()
    path.write_bytes(b"".join(pickles or legacy_pickles(content)) + stored)
    return path
