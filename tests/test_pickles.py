from __future__ import annotations

import collections
import copyreg
import gzip
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
from tests.models.weights.checkpoint_bytes import body


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


def _array(shape: tuple[int, ...], dtype: bytes, data: bytes, state: bytes = b"") -> bytes:
    """The operations that make an array: an empty one, then its state."""
    empty = _global(b"numpy.core.multiarray", b"_reconstruct") + b"(" + _global(b"numpy", b"ndarray")
    empty += body((0,)) + body("b") + b"tR"
    return empty + (state or b"(" + body(1) + body(shape) + dtype + b"\x89" + data + b"tb")


def _dtype(code: str, *state: Any) -> bytes:
    usual = (3, "<", None, None, None, -1, -1, 0)
    return _global(b"numpy", b"dtype") + body((code, False, True)) + b"R" + body(state or usual) + b"b"


# Files that call no function, but would end the process, take all memory, or read memory beyond their own bytes.
POINTERS = b"C\x08AAAAAAAA"
HARMFUL: dict[str, bytes] = {
    "pointers as an array of objects": _array(
        (1,), _dtype("O8", 3, "|", None, None, None, -1, -1, 0), POINTERS
    ),
    "pointers as a record": _array(
        (1,), _dtype("V8", 3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0), POINTERS
    ),
    "pointers as a scalar": _global(b"numpy.core.multiarray", b"scalar")
    + b"("
    + _dtype("O8")
    + POINTERS
    + b"tR",
    "a type of another size": _array((4,), _dtype("f8", 3, "<", None, None, None, 2, 1, 0), POINTERS),
    "text of another size": _array((2**20,), _dtype("U1", 3, "<", None, None, None, 0, 0, 0), POINTERS),
    "text of no size": _array((2**40,), _dtype("U0"), b"C\x00"),
    "a larger array than its bytes": _array((2,), _dtype("f8"), POINTERS),
    "a smaller array than its bytes": _array((), _dtype("f4"), POINTERS),
    "sizes below zero": _array((-1, -1), _dtype("f8"), POINTERS),
    "sizes that overflow": _array((2**32, 2**32), _dtype("f8"), b"C\x00"),
    "an array beyond all memory": _global(b"numpy.core.multiarray", b"_reconstruct")
    + b"("
    + _global(b"numpy", b"ndarray")
    + body((2**40,))
    + body("b")
    + b"tR"
    + body((1, (2**40,)))
    + b"b",
    "a buffer that is an array, then changed": _array((1,), _dtype("f8"), POINTERS)
    + b"q\x00"
    + _global(b"numpy._core.numeric", b"_frombuffer")
    + b"(h\x00"
    + _dtype("f8")
    + body((1,))
    + body("C")
    + b"tR",
    "a second state": _array((1,), _dtype("f8"), POINTERS)
    + b"("
    + body(1)
    + body((1,))
    + _dtype("f8")
    + b"\x89"
    + POINTERS
    + b"tb",
    "a deep tuple as a key": b"}" + b")" + b"\x85" * 1_000_000 + b"Ns",
    "a deep tuple in a set": b"\x8f(" + b")" + b"\x85" * 1_000_000 + b"\x90",
    "a deep tuple in a frozen set": b"()" + b"\x85" * 1_000_000 + b"\x91",
    "a deep tuple in an ordered dictionary": _global(b"collections", b"OrderedDict")
    + b"(]()"
    + b"\x85" * 1_000_000
    + b"N\x86atR",
    "a key that doubles": b")q\x000"
    + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(99))
    + b"}h\x63Ns",
    "bytes that can be changed, beyond all memory": b"\x96" + (2**62).to_bytes(8, "little"),
    "a buffer outside the file": b"\x97",
    "a buffer to be read only": b"C\x01a\x98",
    "a persistent id of anything": b"}Q",
    "a storage": body(("storage", 1, "0", "cpu", 3)) + b"Q",
    "an unknown operation": b"\xff",
    "a frame in a frame": b"\x95" + (12).to_bytes(8, "little") + b"\x95" + (1).to_bytes(8, "little") + b"NNN",
    "a call of what is not a function": b"](N\x86R",
    "an object of what is not a class": b"}]\x81",
    "a call without arguments": _global(b"collections", b"OrderedDict") + b"NR",
}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [b"\x80\x02", b"\x80\x04"])
@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_content_is_refused(tmp_path: Path, name: str, protocol: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(protocol + HARMFUL[name] + b".")
    with pytest.raises(MgkitError, match=r"x\.pkl (was not read|is not a readable pickle)") as caught:
        load_pickle(tmp_path / "x.pkl")
    assert len(str(caught.value)) < 1000


def test_deep_content_is_read_and_let_go(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02" + b"](" * 100_000 + b"e" * 100_000 + b".")
    assert isinstance(load_pickle(tmp_path / "x.pkl"), list)


@pytest.mark.parametrize("cached", [False, True])
def test_an_extension_that_this_process_knows_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("os", "mkdir"))  # type: ignore[attr-defined]
    if cached:
        monkeypatch.setitem(copyreg._extension_cache, 0xF0, os.mkdir)  # type: ignore[attr-defined]
    content = b"\x80\x02\x82\xf0" + body(("ran",)) + b"R."
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(MgkitError, match=r"x\.pkl was not read: it asks for copyreg"):
        load_pickle(tmp_path / "x.pkl")
    assert not Path("ran").exists()


@pytest.mark.slow
def test_damage_of_any_kind_ends_in_data_or_a_refusal(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(Path(__file__).with_name("damage_pickles.py")), str(tmp_path)], check=True
    )


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


def test_arrays_are_read_without_importing_torch(tmp_path: Path) -> None:
    """So that preparing clips from a pickle starts quickly."""
    write_pickle(tmp_path / "x.pkl", PLAIN)
    code = "import sys\nfrom mgkit.pickles import load_pickle\nload_pickle(sys.argv[1])\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.pkl")], check=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(pickle.dumps([1]), mtime=0), "compressed by gzip: unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS leaves .*git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a page of HTML, as a failed download"),
        (b'{"annotations": []}', "text .JSON"),
    ],
)
def test_what_is_saved_under_the_name_of_a_pickle_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(MgkitError, match=rf"x\.pkl is not a pickle but .*{said}"):
        load_pickle(tmp_path / "x.pkl")
