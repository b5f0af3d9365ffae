from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgkit.errors import MgkitError
from mgkit.pickles import load_pickle, write_pickle


class _Calls:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = (function, arguments)

    def __reduce__(self) -> Any:
        return self.what


def _global(module: bytes, name: bytes) -> bytes:
    return b"c" + module + b"\n" + name + b"\n"


WRITE = "open('hostile-was-here', 'w').close()"
HOSTILE: dict[str, bytes] = {
    "a call": pickle.dumps(_Calls(Path.touch, Path("hostile-was-here"))),
    "os.system": pickle.dumps(_Calls(os.system, "touch hostile-was-here")),
    "a shell": pickle.dumps(_Calls(subprocess.check_call, ["touch", "hostile-was-here"])),
    "exec": pickle.dumps(_Calls(exec, WRITE)),
    "eval within a list": pickle.dumps(
        [1, {"a": (_Calls(eval, "__import__('os').mkdir('hostile-was-here')"),)}]
    ),
    "within an array": pickle.dumps(np.array([_Calls(exec, WRITE)], dtype=object)),
    "as a key": pickle.dumps({("a", _Calls(os.getcwd)): 1}) + b"",
    "protocol 0": pickle.dumps(_Calls(exec, WRITE), protocol=0),
    "a name with dots": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
    "numpy's own eval": _global(b"numpy.testing", b"runstring") + b"(V" + WRITE.encode() + b"\n}tR.",
    "numpy.load": _global(b"numpy", b"load") + b".",
    "builtins of numpy": _global(b"numpy", b"__builtins__") + b".",
    "another module in a name": _global(b"numpy.core.multiarray", b"os.system") + b".",
    "INST": b"(S'" + WRITE.encode() + b"'\nibuiltins\nexec\n.",
    "OBJ": b"(" + _global(b"builtins", b"exec") + b"V" + WRITE.encode() + b"\no.",
    "NEWOBJ": b"\x80\x02" + _global(b"subprocess", b"Popen") + b"(]V" + b"touch\nat\x81.",
    "a persistent id": b"Phostile\n.",
    "a registered extension": b"\x80\x02\x82\x01.",
    "the codec of bytes": _global(b"_codecs", b"encode") + b"(Vabc\nVrot13\ntR.",
    "a codec that opens things": _global(b"_codecs", b"lookup") + b".",
    "getattr": _global(b"builtins", b"getattr") + b".",
    "a reconstructor": _global(b"copyreg", b"_reconstructor") + b".",
    "functools.partial": _global(b"functools", b"partial") + b".",
    "a memory map": _global(b"numpy", b"memmap") + b".",
    "records": _global(b"numpy", b"recarray") + b".",
    "a state for a type": _global(b"numpy", b"ndarray") + b"}(V__reduce__\nNub.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_a_hostile_pickle_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pkl").write_bytes(HOSTILE[name])
    with pytest.raises(
        MgkitError, match=r"x\.pkl (was not read: .*nothing of it was run|is not a readable pickle)"
    ):
        load_pickle(tmp_path / "x.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pkl"]


def test_the_hostile_pickles_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a call", "os.system", "exec", "protocol 0", "within an array", "INST", "OBJ"):
        pickle.loads(HOSTILE[name])
        (tmp_path / "hostile-was-here").unlink()


@pytest.mark.parametrize(
    "claim",
    [
        b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"abc.",  # bytes longer than the file
        b"\x80\x04\x95" + (2**60).to_bytes(8, "little") + b"N.",  # a frame longer than the file
        b"\x80\x02" + b"r" + (2**31 - 1).to_bytes(4, "little") + b".",
        b"\x80\x02(((((.",
        b"\x80\x09N.",
    ],
)
def test_false_claims_are_named(tmp_path: Path, claim: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(claim)
    with pytest.raises(MgkitError, match=r"x\.pkl"):
        load_pickle(tmp_path / "x.pkl")


PLAIN: dict[str, Any] = {
    "half": np.arange(6, dtype=np.float16).reshape(2, 3),
    "float": np.array([[np.nan, np.inf, -0.0]], np.float32),
    "column order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "not contiguous": np.arange(10)[::3],
    "big-endian": np.array([1, 2], ">i4"),
    "empty": np.zeros((0, 3), np.uint8),
    "words": np.array(["ä", "bc"]),
    "none": [None, True, 2**70, 1.5, b"\xff", "é", (), {}, ("a", 1)],
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=") and np.array_equal(
            a, b, equal_nan=a.dtype.kind == "f"
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_content_is_read(tmp_path: Path, protocol: int) -> None:
    content = {**PLAIN, "scalar": np.float32(3), "ordered": collections.OrderedDict(a=1)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    assert same(load_pickle(tmp_path / "x.pkl"), content)


def test_what_is_written_is_read_by_every_numpy(tmp_path: Path) -> None:
    write_pickle(tmp_path / "x.pkl", PLAIN)
    content = (tmp_path / "x.pkl").read_bytes()
    assert same(load_pickle(tmp_path / "x.pkl"), PLAIN)
    names = {
        argument for op, argument, _ in pickletools.genops(content) if op.name in ("GLOBAL", "STACK_GLOBAL")
    }
    # The names of numpy 1, which numpy 2 still answers to; the name of numpy 2 would be numpy._core.
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))['half'].tolist())"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "x.pkl")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"


@pytest.mark.parametrize(
    "value", [Path("a"), {"a": [np.float32(1)]}, {"a": np.array([None])}, [{1, 2}], io.BytesIO()]
)
def test_only_plain_content_is_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(MgkitError, match="only plain containers and arrays can be written"):
        write_pickle(tmp_path / "x.pkl", value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"a.mp4 1\nb.mp4 2\n", b"\x80\x04", b"(lp0\n"])
def test_a_file_that_is_no_pickle_is_not_called_hostile(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(MgkitError, match=r"x\.pkl is not a readable pickle .*copy it again"):
        load_pickle(tmp_path / "x.pkl")
