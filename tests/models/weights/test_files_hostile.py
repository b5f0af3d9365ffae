"""Files that try to run something. Each payload is first run by pickle, to show that it would."""

import contextlib
import copyreg
import functools
import io
import os
import pickle
import posixpath
import struct
import sys
import tarfile
import timeit
import types
import zipfile

import pytest
import torch

from mgkit.errors import MgkitError
from mgkit.models import read_checkpoint
from tests.models.weights import checkpoint_bytes as bytes_of
from tests.models.weights.checkpoint_bytes import VALUES, body, name, text


class Calls:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.pair = function, arguments

    def __reduce__(self):
        return self.pair


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "it-ran"


@pytest.fixture
def evil(marker, monkeypatch):
    """A module that can be imported, with a class for each thing that a pickle can do to an object."""

    def run(*_, **__):
        with contextlib.suppress(FileExistsError):
            os.mkdir(marker)
        return 0

    module = types.ModuleType("evil_module")
    module.run = run
    for method in ("__init__", "__setstate__", "append", "extend", "__setitem__", "__hash__", "add"):
        setattr(module, f"With{method.strip('_')}", type("Evil", (), {method: run}))
    module.New = type("New", (), {"__new__": lambda cls, *a, **k: run() or object.__new__(cls)})
    module.Dictionary = type("Dictionary", (dict,), {"__setitem__": run})
    module.Outer = type("Outer", (), {"inner": staticmethod(run)})
    monkeypatch.setitem(sys.modules, "evil_module", module)
    return module


def instance(kind: str) -> bytes:
    return name("evil_module", kind) + b")\x81"


def called(module: str, function: str, *arguments) -> bytes:
    return name(module, function) + body(tuple(arguments)) + b"R"


CODE = "__import__('os').mkdir({!r})"


def nested(marker) -> bytes:
    return b"".join(bytes_of.legacy_pickles(pickle.dumps(Calls(os.mkdir, str(marker)), 2))) + struct.pack(
        "<q", 0
    )


PAYLOADS = {
    "a function of the system": lambda m: body(Calls(os.mkdir, str(m))),
    "the same in a newer protocol": lambda m: body(Calls(os.mkdir, str(m)), 4),
    "a function by its public module": lambda m: called("os", "mkdir", str(m)),
    "a module's module": lambda m: text("posixpath") + text("os.mkdir") + b"\x93" + body((str(m),)) + b"R",
    "eval": lambda m: body(Calls(eval, CODE.format(str(m)))),
    "exec under its old name": lambda m: called("__builtin__", "exec", CODE.format(str(m)), {}),
    "getattr": lambda m: (
        name("builtins", "getattr")
        + b"("
        + called("builtins", "__import__", "os")
        + text("mkdir")
        + b"tR"
        + body((str(m),))
        + b"R"
    ),
    "what a function returned": lambda m: body(Calls(functools.partial(os.mkdir, str(m)))),
    "code as text": lambda m: body(
        Calls(timeit.timeit, CODE.format(str(m)), "pass", timeit.default_timer, 1)
    ),
    "an old class": lambda m: b"(" + text(str(m)) + b"ios\nmkdir\n",
    "an old class from the stack": lambda m: b"(" + name("os", "mkdir") + text(str(m)) + b"o",
    "a function of the file's own": lambda m: called("evil_module", "run"),
    "a nested attribute": lambda m: text("evil_module") + text("Outer.inner") + b"\x93)R",
    "__new__": lambda m: instance("New"),
    "__new__ with keywords": lambda m: name("evil_module", "New") + b")}\x92",
    "__init__": lambda m: called("evil_module", "Withinit"),
    "__setstate__": lambda m: instance("Withsetstate") + b"}b",
    "append": lambda m: instance("Withappend") + b"Na",
    "extend": lambda m: instance("Withextend") + b"(NNe",
    "__setitem__": lambda m: instance("Withsetitem") + b"NNs",
    "__setitem__ of a dictionary's class": lambda m: instance("Dictionary") + b"(NNu",
    "__hash__ of a key": lambda m: b"}" + instance("Withhash") + b"Ns",
    "__hash__ in an ordered dictionary": lambda m: (
        name("collections", "OrderedDict") + b"(](" + instance("Withhash") + b"N\x86etR"
    ),
    "__hash__ in a set": lambda m: b"\x8f(" + instance("Withhash") + b"\x90",
    "__hash__ in a frozen set": lambda m: b"(" + instance("Withhash") + b"\x91",
    "add to a set of one's own": lambda m: instance("Withadd") + b"(N\x90",
    "an extension code": lambda m: b"\x82\xf0)R",
    "torch: a file in the file": lambda m: body(Calls(torch.storage._load_from_bytes, nested(m)), 4),
    "torch: a tensor's class": lambda m: (
        name("torch._tensor", "_rebuild_from_type_v2")
        + b"("
        + name("os", "mkdir")
        + name("torch", "Tensor")
        + body((str(m),))
        + b"}tR"
    ),
    "torch: a parameter of what was called": lambda m: (
        name("torch._utils", "_rebuild_parameter") + b"(" + called("os", "mkdir", str(m)) + b"\x88NtR"
    ),
}


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("what", PAYLOADS)
def test_nothing_that_a_file_asks_for_is_run(tmp_path, marker, evil, what, form):
    assert posixpath.os is os
    copyreg.add_extension("evil_module", "run", 0xF0)
    try:
        payload = PAYLOADS[what](marker)
        for protocol in (b"\x80\x02", b"\x80\x04"):  # names of Python 2 need the one, dotted names the other
            with contextlib.suppress(Exception):
                pickle.loads(protocol + payload + b".")
        assert marker.is_dir(), "the payload is not one"
        marker.rmdir()
        write = bytes_of.write_zip if form == "zip" else bytes_of.write_legacy
        state = read_checkpoint(write(tmp_path / "hostile.pth", bytes_of.checkpoint(payload))).state
        assert list(state) == ["a"]
        assert torch.equal(state["a"], VALUES)
        assert not marker.exists()
        # In place of a weight it is left out, in place of the whole file it is refused.
        for content in (bytes_of.checkpoint(value=payload), bytes_of.PROTOCOL + payload + b"."):
            with contextlib.suppress(MgkitError):
                read_checkpoint(write(tmp_path / "hostile.pth", content))
        assert not marker.exists()
    finally:
        copyreg.remove_extension("evil_module", "run", 0xF0)


@pytest.mark.parametrize("place", range(5))
def test_no_pickle_of_an_old_file_is_run(tmp_path, marker, place):
    pickles = bytes_of.legacy_pickles(bytes_of.checkpoint())
    pickles[place] = bytes_of.PROTOCOL + body(Calls(os.mkdir, str(marker))) + b"0" + pickles[place][2:]
    pickle.loads(bytes_of.PROTOCOL + body(Calls(os.mkdir, str(marker))) + b".")
    marker.rmdir()
    state = read_checkpoint(bytes_of.write_legacy(tmp_path / "hostile.pth", b"", pickles)).state
    assert torch.equal(state["a"], VALUES)
    assert not marker.exists()


@pytest.mark.parametrize("module", ["evil_module", "torch.storage", "os"])
def test_the_type_of_a_storage_is_a_name(tmp_path, marker, evil, module):
    evil.FloatStorage = types.SimpleNamespace(dtype=property(evil.run))
    value = bytes_of.tensor(of=bytes_of.storage(module=module, kind="UntypedStorage"))
    with pytest.raises(MgkitError, match="no weights"):
        read_checkpoint(bytes_of.write_zip(tmp_path / "a.pth", bytes_of.checkpoint(value=value)))
    assert not marker.exists()


def test_names_in_messages_are_short_and_plain(tmp_path):
    path = bytes_of.write_zip(
        tmp_path / "a.pth", b"\x80\x02" + name("x\x1b[31m" + "y" * 10_000, "z") + b")R."
    )
    with pytest.raises(MgkitError, match=r"whole pickled object \(x\?\[31my") as caught:
        read_checkpoint(path)
    assert len(str(caught.value)) < 1000
    weights = b"}" + text("a\x1b[31m") + bytes_of.tensor() + b"s" + text("b") + bytes_of.tensor() + b"s"
    file = read_checkpoint(bytes_of.write_zip(path, b"\x80\x02" + weights + b"."))
    assert list(file.state) == ["b"]
    assert file.left == {"a?[31m": "not a name of a weight"}


# Files that try to take all memory or time, or to read what is not theirs


def doubled(times: int) -> bytes:
    """A list that holds another twice, which holds another twice: printed, it would never end."""
    return b"(]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(times)) + b"1h%c" % times


HARMFUL = {
    "a place in the memo beyond all memory": b"Nr\xff\xff\xff\x7f",
    "a deep list": b"](" * 50_000 + b"e" * 50_000,
    "a deep tuple as a key": b"}" + b")" + b"\x85" * 100_000 + b"Ns",
    "a list that doubles": doubled(200),
    "a list in itself": b"]q\x00h\x00a",
    "a deep tuple in a set": b"\x8f(" + b")" + b"\x85" * 100_000 + b"\x90",
    "a deep tuple in a frozen set": b"()" + b"\x85" * 100_000 + b"\x91",
    "a key that doubles": b")q\x000"
    + b"".join(b"h%ch%c\x86q%c0" % (i, i, i + 1) for i in range(99))
    + b"}h\x63Ns",
    "attributes that hide those of a dictionary": name("collections", "OrderedDict")
    + b")R}"
    + text("items")
    + name("os", "getcwd")
    + b"sb",
    "a storage that is itself": b"]q\x00h\x00aQ",
    "the source of a module": b"("
    + text("module")
    + name("os", "path")
    + text("a.py")
    + text("source")
    + b"tQ",
    "a storage without a type": b"("
    + text("storage")
    + text("FloatStorage")
    + text("0")
    + text("cpu")
    + b"K\x03tQ",
    "a key that is a list": b"("
    + text("storage")
    + name("torch", "FloatStorage")
    + b"]"
    + text("cpu")
    + b"K\x03tQ",
    "a place of memory as an id": b"P140735\n",
    "a quantised tensor beyond its storage": name("torch._utils", "_rebuild_qtensor")
    + b"("
    + bytes_of.storage()
    + bytes_of.body(9)
    + bytes_of.body((2**40,))
    + b"NNNtR",
    "a sparse tensor that points beyond its end": name("torch._utils", "_rebuild_sparse_tensor")
    + b"("
    + name("torch", "sparse_coo")
    + bytes_of.tensor()
    + b"\x86tR",
}


@pytest.mark.slow
@pytest.mark.parametrize("write", [bytes_of.write_zip, bytes_of.write_legacy])
@pytest.mark.parametrize("what", HARMFUL)
def test_hostile_shapes_do_no_harm(tmp_path, what, write):
    path = write(tmp_path / "a.pth", bytes_of.checkpoint(HARMFUL[what]))
    assert torch.equal(read_checkpoint(path).state["a"], VALUES)
    for content in (bytes_of.checkpoint(value=HARMFUL[what]), bytes_of.PROTOCOL + HARMFUL[what] + b"."):
        with pytest.raises(MgkitError):
            read_checkpoint(write(path, content))


BROKEN = {
    "text that is longer than the file": b"X\xff\xff\xff\x7fab",
    "bytes that are longer than any memory": b"\x8e" + struct.pack("<Q", 2**62),
    "an empty stack": b"0" * 9,
    "a mark that is missing": b"t",
    "a memo that is missing": b"h\x07",
    "an operation that does not exist": b"\xff",
    "a tensor larger than its storage": bytes_of.tensor(size=(4,)),
    "a tensor beyond its storage": bytes_of.tensor(offset=1),
    "a tensor before its storage": bytes_of.tensor(offset=-1),
    "a tensor that steps out of its storage": bytes_of.tensor(stride=(2,)),
    "a tensor that steps back": bytes_of.tensor(stride=(-1,)),
    "a tensor repeated beyond all memory": bytes_of.tensor(size=(2**40,), stride=(0,)),
    "a size that overflows": bytes_of.tensor(size=(2**61, 2**61, 0), stride=(1, 1, 1)),
    "a size that is a list of lists": bytes_of.tensor(offset=[[[]]]),
    "a size that doubles": bytes_of.tensor().replace(body(0), doubled(99), 1),
    "a storage that is elsewhere": bytes_of.tensor(of=bytes_of.storage(key="../../../etc/passwd")),
    "a size that is true": bytes_of.tensor(offset=True),
    "a size that is a fraction": bytes_of.tensor(size=(2.0,)),
    "sizes and steps of other lengths": bytes_of.tensor(size=(1, 1)),
    "bytes to be changed, beyond all memory": b"\x96" + struct.pack("<Q", 2**62),
    "a frame that is longer than the file": b"\x95" + struct.pack("<Q", 2**40) + b"N",
    "a buffer outside the file": b"\x97",
    "a storage of two types": bytes_of.tensor()
    + b"0"
    + bytes_of.tensor(of=bytes_of.storage(kind="IntStorage")),
}


@pytest.mark.parametrize("write", [bytes_of.write_zip, bytes_of.write_legacy])
@pytest.mark.parametrize("what", BROKEN)
def test_broken_files_say_so(tmp_path, what, write):
    path = write(tmp_path / "broken.pth", bytes_of.checkpoint(value=BROKEN[what]))
    with pytest.raises(
        MgkitError, match=r"broken\.pth (cannot be read as a torch checkpoint|holds no weights)"
    ):
        read_checkpoint(path)


def test_a_small_archive_that_unpacks_to_a_large_one_is_refused(tmp_path):
    path = bytes_of.write_zip(
        tmp_path / "a.pth", bytes_of.checkpoint(body("0" * 10**6)), compression=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(MgkitError, match="compressed"):
        read_checkpoint(path)


def test_records_that_overlap_are_refused(tmp_path):
    """Ten storages that are all the same bytes of the file."""
    pairs = b"".join(text(str(i)) + bytes_of.tensor(of=bytes_of.storage(key=str(i))) for i in range(10))
    raw = bytes_of.write_zip(tmp_path / "a.pth", bytes_of.PROTOCOL + b"}(" + pairs + b"u.").read_bytes()
    table, entry, end = raw.index(b"PK\x01\x02"), raw.rindex(b"PK\x01\x02"), raw.rindex(b"PK\x05\x06")
    listed = raw[table:entry] + b"".join(
        raw[entry:end].replace(b"/data/0", b"/data/%d" % i) for i in range(10)
    )
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 11, 11, len(listed), table, 0)
    (tmp_path / "b.pth").write_bytes(raw[:table] + listed + tail)
    with pytest.raises(MgkitError, match=r"b\.pth cannot be read"):
        read_checkpoint(tmp_path / "b.pth")


def test_a_tensor_whose_storage_the_file_lacks_is_not_made_of_what_is_in_memory(tmp_path):
    """torch.load gives it memory that nothing was written to."""
    absent = bytes_of.tensor(of=bytes_of.storage(key="1"))
    path = bytes_of.write_legacy(tmp_path / "a.pth", bytes_of.checkpoint(bytes_of.tensor(), value=absent))
    with pytest.raises(MgkitError, match="one of its storages is missing"):
        read_checkpoint(path)


@pytest.mark.parametrize("claim", [-1, 2**60, 2**62])
def test_a_storage_that_claims_to_be_longer_than_the_file_is_refused(tmp_path, claim):
    path = bytes_of.write_legacy(tmp_path / "a.pth", bytes_of.checkpoint())
    end = len(bytes_of.VALUES) * 4
    path.write_bytes(path.read_bytes()[: -end - 8] + struct.pack("<q", claim) + bytes(end))
    with pytest.raises(MgkitError, match="ends within one of its storages"):
        read_checkpoint(path)


def test_the_number_of_elements_that_a_storage_claims_is_not_believed(tmp_path):
    value = bytes_of.tensor(of=bytes_of.storage(elements=2**50))
    for write in (bytes_of.write_zip, bytes_of.write_legacy):
        state = read_checkpoint(write(tmp_path / "a.pth", bytes_of.checkpoint(value=value))).state
        assert torch.equal(state["a"], VALUES)


def test_a_tar_archive_is_not_unpacked(tmp_path, monkeypatch):
    """torch.load unpacks the files of its first format into a temporary folder and runs three pickles in them."""
    monkeypatch.chdir(tmp_path)
    with tarfile.open("a.pth", "w") as archive:
        for record in ("storages", "tensors", "pickle"):
            content = bytes_of.PROTOCOL + body(Calls(os.mkdir, "ran")) + b"."
            entry = tarfile.TarInfo(record)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(MgkitError, match="not a torch checkpoint"):
        read_checkpoint("a.pth")
    assert os.listdir() == ["a.pth"]


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_program_of_torch_is_not_run(tmp_path, monkeypatch):
    """torch.load hands it to torch.jit.load, which runs its __setstate__; that can write files."""
    monkeypatch.chdir(tmp_path)
    network = torch.jit.trace(torch.nn.Linear(2, 3), torch.zeros(1, 2))
    torch.jit.save(network, "a.pth")
    with pytest.raises(MgkitError, match="TorchScript program, not weights: save a state dict"):
        read_checkpoint("a.pth")
    with zipfile.ZipFile("a.pth") as archive:  # hidden in a second root
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile("b.pth", "w") as archive:
        for record, content in records.items():
            archive.writestr(record, content)
        archive.writestr("archive/data.pkl", bytes_of.checkpoint())
        archive.writestr("archive/data/0", VALUES.numpy().tobytes())
    with pytest.raises(MgkitError, match="not one of torch"):
        read_checkpoint("b.pth")
