import errno
import subprocess
import sys
from pathlib import Path

import pytest

from mgkit.errors import MgkitError, some
from mgkit.files import atomic, exclusive, read_json, write_json


def test_a_failed_writer_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def write_half() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_half()
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("stem", ["x" * 251, "x" * 241, "手" * 83, "é" * 125 + "x"])
def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path, stem: str) -> None:
    write_json(tmp_path / f"{stem}.js", 1)
    assert [p.name for p in tmp_path.iterdir()] == [f"{stem}.js"]


def test_written_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_broken_or_missing_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text('{"a": ')
    with pytest.raises(MgkitError, match=r"b\.json is not valid JSON"):
        read_json(tmp_path / "b.json")
    with pytest.raises(MgkitError, match=r"c\.json is missing"):
        read_json(tmp_path / "c.json")


def test_a_folder_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MgkitError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_some() -> None:
    assert some("ab") == "a, b"
    assert some(range(9), 3) == "0, 1, 2 and 6 more"


def test_a_full_disk_is_said_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)

    def write() -> None:
        with atomic(tmp_path / "a.json"):
            raise OSError(28, "No space left on device")

    with pytest.raises(
        MgkitError, match=r"a\.json cannot be written \(No space left on device\): free some space"
    ):
        write()
    assert read_json(tmp_path / "a.json") == 1


def test_a_folder_is_held_by_one_process_and_freed_with_it(tmp_path: Path) -> None:
    code = "import sys, time; from mgkit.files import exclusive\n"
    code += "with exclusive(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline().strip() == b"held"
    with pytest.raises(MgkitError, match="another process is working in"):
        with exclusive(tmp_path):
            pass
    other.kill()
    other.wait()
    with exclusive(tmp_path):
        pass


def test_a_folder_that_is_gone_is_not_made_to_be_locked(tmp_path: Path) -> None:
    with pytest.raises(MgkitError, match="cannot be written to"), exclusive(tmp_path / "gone"):
        pass
    assert not (tmp_path / "gone").exists()


def test_a_file_system_without_locks_is_told_from_a_folder_that_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="needs POSIX locks")

    def none(*arguments: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with (
        pytest.raises(MgkitError, match=r"cannot be locked \(Function not implemented\).*on another one"),
        exclusive(tmp_path),
    ):
        pass
