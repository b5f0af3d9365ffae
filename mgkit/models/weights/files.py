"""Checkpoint files read as data: whatever classes and functions a file names, none is imported or called.

Published checkpoints name things of the toolbox that wrote them: loggers, configurations, optimisers.
`torch.load(weights_only=True)` refuses those, and can only be allowed single classes, for the whole process. Here the
pickle in a file is read by `mgkit.pickles`, which knows no code at all, and tensors are cut from the bytes after it.

Both of torch's formats are read, the zip archive (torch >= 1.6) and the stream of pickles before it, and safetensors,
which holds numbers only.
"""

from __future__ import annotations

import functools
import importlib.util
import mmap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mgkit.errors import MgkitError, some
from mgkit.pickles import Damaged, Foreign, NotTorch, TensorRef, plain_name, unpickle, unpickle_stream

__all__ = ["Checkpoint", "read_checkpoint"]

# Entries that hold the weights of a checkpoint, in the order of preference. MMEngine puts its averaged weights into
# state_dict and keeps the others as ema_state_dict; timm and others keep the averaged ones under a name of their own.
PARTS = (
    "state_dict",
    "model",
    "model_state_dict",
    "network",
    "net",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
)


@dataclass(frozen=True)
class Checkpoint:
    """The weights in a file.

    Attributes:
        state: {name: tensor} on the CPU, of the part that was read.
        part: the entry of the file they were found under; "" if the file is the state dict itself.
        left: the other entries, and why they were not read.
        parts: every entry of the file that holds weights, `part` included.
    """

    state: dict[str, Tensor]
    part: str
    left: dict[str, str]
    parts: tuple[str, ...]


def read_checkpoint(path: str | Path, part: str | None = None) -> Checkpoint:
    """Read the weights in a checkpoint without running any code that the file may hold or name.

    Args:
        path: a file written by torch.save: a state dict, or a dictionary with one under "state_dict", "model" or
            another usual name. Published files and our own alike. Or a file of safetensors, by its ending.
        part: the entry to take ("model_ema", or "model.state_dict" one level down) where there are several; the
            most usual name by default.

    Raises:
        MgkitError: if there is no such file or part, or the file is not a checkpoint, is damaged, or holds no weights
            but an object that only its own code could open.
    """
    path = Path(path)
    if path.suffix == ".safetensors" and path.is_file():
        if part:
            raise MgkitError(f"{path} is one set of weights, and has none under {part!r}")
        return Checkpoint(_safetensors(path), "", {}, ("",))
    with _opened(path) as (content, tensor):
        parts = _parts(content)
        if part is None:
            part = _choose(parts, content, path)
        elif part not in parts:
            raise MgkitError(f"{path} has no weights under {part!r}, but {some(parts) or 'none at all'}")
        state: dict[str, Tensor] = {}
        left: dict[str, str] = {}
        for name, value in parts[part].items():
            if isinstance(value, TensorRef) and plain_name(name) == name:
                state[name] = tensor(value)
            elif isinstance(value, TensorRef):
                left[plain_name(name)] = "not a name of a weight"
            else:
                made_by = f" ({value.name})" if isinstance(value, Foreign) else ""
                left[plain_name(name)] = f"not a plain tensor{made_by}"
    for name in map(plain_name, content if part else ()):
        if name != part.split(".")[0]:
            others = [other for other in parts if other.split(".")[0] == name]
            left[name] = f"other weights: part={others[0]!r} takes them" if others else "not weights"
    return Checkpoint(state, part, left, tuple(parts))


def _safetensors(path: Path) -> dict[str, Tensor]:
    if importlib.util.find_spec("safetensors") is None:
        raise MgkitError(
            f"{path} needs the package safetensors: pip install 'mgkit[video]' (from a checkout '.[video]')."
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise MgkitError(
            f"{path} cannot be read as safetensors ({str(error).splitlines()[0]}): check that the download is complete"
        ) from None


def _parts(content: Any) -> dict[str, dict[str, Any]]:
    """Every state dict in the file by its place: at the top, or one or two keys down."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        inner = value.items() if isinstance(value, dict) else ()
        if _is_state(value):
            found[plain_name(key)] = value
        else:
            found |= {plain_name(f"{key}.{name}"): deeper for name, deeper in inner if _is_state(deeper)}
    if _is_state(content) and not any(name.split(".")[0] in PARTS for name in found):
        return {"": content}
    return found


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(v, TensorRef) and isinstance(k, str) for k, v in value.items()
    )


def _choose(parts: Mapping[str, Any], content: Any, path: Path) -> str:
    usual = next((top for top in PARTS if any(name.split(".")[0] == top for name in parts)), None)
    best = [name for name in parts if usual in (None, name.split(".")[0])]
    if len(best) == 1:
        return best[0]
    if best:
        raise MgkitError(f"{path} has weights under {some(parts)}: choose one with part=")
    whole = content
    if isinstance(content, dict):
        whole = next((content[name] for name in PARTS if isinstance(content.get(name), Foreign)), None)
    if isinstance(whole, Foreign):
        raise MgkitError(
            f"{path} holds a whole pickled object ({whole.name}), which only the code that made it could open, and "
            "mgkit runs no code from files: where it was made, save its weights alone with "
            "torch.save(model.state_dict(), new), and load that file"
        )
    if isinstance(content, dict):
        raise MgkitError(
            f"{path} holds no weights{f', only {some(map(plain_name, content))}' if content else ''}"
        )
    raise MgkitError(f"{path} is not a state dict, which maps names to tensors")


# The two formats

_Tensors = Callable[[TensorRef], Tensor]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, _Tensors]]:
    """The content of a file with references in place of tensors, and a function from a reference to its tensor."""
    if path.is_dir():
        raise MgkitError(
            f"{path} is a folder, not a checkpoint: give a file in it, for a run folder its checkpoints/best.pt"
        )
    try:
        with path.open("rb") as handle:
            head = handle.read(64)
            if not head:
                raise MgkitError(f"{path} is empty: download or copy it again")
            if head.startswith(b"PK\x03\x04"):
                with zipfile.ZipFile(handle) as archive:
                    yield _zip_content(archive, path.stat().st_size)
            else:
                with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as stream:
                    yield unpickle_stream(stream)
    except FileNotFoundError:
        raise MgkitError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror or error})") from None
    except NotTorch:
        raise MgkitError(
            f"{path} is not a torch checkpoint; it begins with {head[:24]!r}: if that is a web page or a Git LFS "
            "pointer, download the file itself"
        ) from None
    except MgkitError:  # which is a ValueError
        raise
    except (Damaged, zipfile.BadZipFile, EOFError, ValueError, RuntimeError, MemoryError) as error:
        raise MgkitError(
            f"{path} cannot be read as a torch checkpoint ({error}): check that the download is complete"
        ) from None


def _zip_content(archive: zipfile.ZipFile, size: int) -> tuple[Any, _Tensors]:
    """The content of an archive of `size` bytes: data.pkl, and each storage in data/."""
    names = set(archive.namelist())
    roots = [
        name.removesuffix("/data.pkl")
        for name in names
        if name.count("/") == 1 and name.endswith("/data.pkl")
    ]
    if len(roots) != 1:
        raise Damaged("it is a zip archive, but not one of torch.save")
    root = roots[0]
    if f"{root}/constants.pkl" in names:
        raise Damaged("it is a TorchScript program, not weights: save a state dict where it was made")
    budget = size  # torch.save does not compress, so all records together are not larger than the file

    def record(name: str) -> bytes:
        nonlocal budget
        if f"{root}/{name}" not in names:
            raise Damaged(f"its record {plain_name(name)[:40]} is missing")
        info = archive.getinfo(f"{root}/{name}")
        budget -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or budget < 0:
            raise Damaged(f"its record {plain_name(name)[:40]} is compressed or overlaps others")
        return archive.read(info)

    @functools.cache
    def storage(key: str) -> bytearray:
        return bytearray(record(f"data/{key}"))

    if f"{root}/byteorder" in names and record("byteorder") != b"little":
        raise Damaged("it was written on a big-endian machine")
    return unpickle(record("data.pkl")), lambda ref: ref.of(storage(ref.storage.key))
