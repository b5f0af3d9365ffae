"""Files written whole or not at all, locks on folders, and JSON that is named when it is broken."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError

LONGEST_NAME = 255  # bytes of a file name, on every usual file system


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; it takes `path`'s place only if the block ends without an error.

    A reader therefore sees the old file or the new one, never half of one, and a full disk or a killed process
    leaves the old file as it was. The temporary file keeps the suffix of `path`, for writers that depend on it.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name as long as the file system takes leaves no room for what makes it another one.
        stem = path.stem.encode(errors="surrogateescape")[: LONGEST_NAME - len(path.suffix.encode()) - 10]
        handle, name = tempfile.mkstemp(
            prefix=f".{stem.decode(errors='ignore')}-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise MgkitError(
            f"{path} cannot be written ({error.strerror}): choose a folder you may write to."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; results should be as readable as any other file of the user's.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MgkitError(
            f"{path} cannot be written ({reason}): free some space, or choose another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(folder: str | Path, name: str = ".lock", wait: float = 0.0) -> Iterator[None]:
    """Hold a folder for this process, or raise a `MgkitError` if another one still holds it after `wait` seconds.

    The system ends the lock with the process, however that ends, `kill -9` included. Locks of other names in the same
    folder do not exclude each other.
    """
    from filelock import FileLock, Timeout

    if not Path(folder).is_dir():  # filelock would make it
        raise MgkitError(f"{folder} cannot be written to (no such folder): choose a folder you may write to.")
    # Not the lock that filelock has for file systems without locks: a killed process would leave it behind.
    lock = FileLock(Path(folder) / name, timeout=wait, poll_interval=0.01, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise MgkitError(
            f"another process is working in {folder}: wait for it or stop it, or choose another folder."
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            raise MgkitError(
                f"{lock.lock_file} cannot be locked ({error.strerror}), so two processes could not be kept apart: the "
                "file system gives no locks (Lustre without the mount option flock?); choose a folder on another one."
            ) from None
        raise MgkitError(
            f"{folder} cannot be written to ({error.strerror}): choose a folder you may write to."
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_held(folder: str | Path, name: str = ".lock") -> bool:
    """Whether some process holds a folder by `exclusive`; False too where that cannot be found out."""
    from filelock import FileLock, Timeout

    if not (Path(folder) / name).is_file():
        return False
    try:
        with FileLock(Path(folder) / name, timeout=0, fallback_to_soft=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def is_text(path: str | Path) -> bool:
    """Whether a name can be written into a table; one in another encoding than UTF-8 cannot."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(path: str | Path) -> str:
    """A name for a message, whatever its encoding."""
    return str(path).encode(errors="backslashreplace").decode()


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or broken one raises a `MgkitError` that names it."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MgkitError(f"{path} is missing.") from None
    except OSError as error:
        raise MgkitError(f"{path} cannot be read ({error.strerror}).") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MgkitError(
            f"{path} is not valid JSON ({error}): restore it or make its folder again."
        ) from None


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
