"""A training in a process of its own: who runs it, how it is, its log, stop and resume. All of it is in the run folder.

    job.json     {"format", "clips" (relative to the run folder), "options" of `mgkit train`, "pid", "host",
                 "started" (start of that process, as the system tells it), "folder" (inode of the run folder, which a
                 copy of it has not), "launched", "log_from" (byte of train.log)}
    recipe.json  the recipe, for `mgkit train --recipe-file`
    train.log    what the process said, resumed ones after each other

A pid alone proves nothing: it may have been given to another process since, or belong to another machine. So a
process counts as the training only if it began when job.json says; of another machine only what the run folder says
is known, and how old that is.

Which process a pid means: a number alone proves nothing, since it is given to another process later.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from mgkit.errors import MgkitError
from mgkit.files import exclusive, write_json
from mgkit.results.run import files as storage
from mgkit.results.run.folder import Run, load_run

SILENT = (
    600.0  # seconds without a word after which a training on another machine is no longer taken to be running
)
_SAID = re.compile(r"mgkit( train: error)?: ")  # how the command line begins what a user can mend
ENDED = ("finished", "interrupted", "failed", "killed")


class JobState(NamedTuple):
    """How a training is.

    Attributes:
        name: "none" (nothing here yet), "starting", "running", "finished", "interrupted", "failed", "killed" (it
            ended without a word: kill -9, out of memory, a machine that went down) or "silent" (it ran on another
            machine and has not been heard of for long).
        message: what went wrong, or what is known, for people; may be empty.
        here: whether its process runs on this machine, and so can be stopped from here.
    """

    name: str
    message: str = ""
    here: bool = False


@dataclass(frozen=True)
class Job:
    """The training in a run folder, from `mg.launch` or `mg.attach`; it holds nothing that is not in the folder.

    Attributes:
        root: the run folder.
    """

    root: Path

    def __repr__(self) -> str:
        state = self.look()
        return f"Job({str(self.root)!r}: {state.name}{f', {state.message}' if state.message else ''})"

    @property
    def state(self) -> str:
        """The name of `look()`."""
        return self.look().name

    def look(self) -> JobState:
        """How the training is now."""
        record = read_job(self.root)
        status = _status(self.root)
        said = str(status.get("state", ""))
        if record is not None and said != "finished":
            host, pid = str(record["host"]), int(record["pid"])
            if host == socket.gethostname():
                alive = record["started"] is not None and process_start(pid) == record["started"]
                if alive and record.get("folder") in (None, _inode(self.root)):  # a copied folder is not its
                    fresh = said == "running" and not _older(status, record)
                    return JobState("running" if fresh else "starting", f"process {pid}", True)
                return self._ended(status, record)
            if said == "running" or _older(status, record):
                age = last_word(self.root)
                told = (
                    f"on {host}, heard of {_ago(age)}" if age is not None else f"on {host}, not heard of yet"
                )
                if age is not None and age > SILENT:
                    return JobState("silent", f"{told}: look there whether it runs, or resume it")
                return JobState("running", told)
        if said == "running":  # begun by `mg.train` or in a shell
            if _locked(self.root):
                return JobState("running", "in a process that was not launched: stop it where it was started")
            age = last_word(self.root)
            if age is not None and age < 60:
                return JobState("running", f"heard of {_ago(age)}")
            return JobState("killed", "it stopped without a word; the same call resumes it")
        return JobState(said or "none", str(status.get("message", "")))

    def _ended(self, status: dict[str, Any], record: dict[str, Any]) -> JobState:
        """Of a process that is gone: by its status, else by its last words, else it was killed."""
        said = status.get("state")
        if said in ("interrupted", "failed") and not _older(status, record):
            return JobState(said, str(status.get("message", "")))
        lines = [line for line in self._text(int(record["log_from"])).splitlines() if line.strip()]
        if lines and (lines[-1].startswith("mgkit: interrupted") or lines[-1] == "KeyboardInterrupt"):
            return JobState("interrupted", "resume with the same call, or the same command")
        told = [_SAID.sub("", line) for line in lines if _SAID.match(line)]
        if told:
            return JobState("failed", told[-1])
        if any(line.startswith("Traceback ") for line in lines):
            return JobState("failed", lines[-1])
        return JobState("killed", "it stopped without a word (killed, or out of memory): resume it")

    def run(self) -> Run:
        """The run, with what there is of it so far; a `MgkitError` before the training has made it."""
        return load_run(self.root)

    def log(self, lines: int = 20) -> str:
        """The last lines of train.log."""
        return "\n".join(self._text(-65536).splitlines()[-lines:])

    def _text(self, start: int) -> str:
        try:
            with (self.root / "train.log").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size + start if start < 0 else start))
                return file.read(1 << 20).decode(errors="replace")
        except OSError:
            return ""

    def stop(self, *, seconds: float = 60.0, hard: bool = False) -> JobState:
        """End the training so that it can be resumed, and wait until it has ended.

        Args:
            seconds: how long to wait; a training ends after the step it is in.
            hard: kill it and all its processes at once. What was trained since the last checkpoint is trained again.

        Raises:
            MgkitError: it does not run, runs on another machine, or has not ended in time.
        """
        self.ask_to_stop(hard=hard)
        deadline = time.monotonic() + seconds
        while (state := self.look()).here:
            if time.monotonic() > deadline:
                raise MgkitError(
                    f"{self.root} has not stopped within {seconds:.0f} s: wait for the end of its step, or use "
                    "stop(hard=True)."
                )
            time.sleep(0.05)
        return state

    def ask_to_stop(self, *, hard: bool = False) -> None:
        """As `stop`, without waiting."""
        state = self.look()
        if not state.here:
            raise MgkitError(
                f"{self.root} cannot be stopped from here: it is {state.name}"
                + (f" ({state.message})." if state.message else ".")
            )
        record = read_job(self.root)
        assert record is not None
        try:
            if hard:
                os.killpg(int(record["pid"]), signal.SIGKILL)  # it leads a session of its own
            else:
                os.kill(int(record["pid"]), signal.SIGINT)
        except ProcessLookupError:
            pass  # it ended by itself meanwhile
        except PermissionError:
            raise MgkitError(
                f"{self.root} cannot be stopped by you: process {record['pid']} belongs to {_owner(self.root)}, who "
                f"can stop it with `mgkit stop {self.root}`."
            ) from None

    def resume(self) -> Job:
        """Start the same training again, where it stopped.

        Raises:
            MgkitError: it runs, is finished, or was not launched; its clips are no longer where they were.
        """
        record = read_job(self.root)
        if record is None:
            raise MgkitError(f"{self.root} was not launched: resume it with the call that trained it.")
        if self.state == "finished":
            raise MgkitError(f"{self.root} is finished: there is nothing to resume.")
        if not (clips := self.root.resolve() / record["clips"]).exists():
            raise MgkitError(
                f"the clips of {self.root} are no longer at {os.path.normpath(clips)}, it or they have moved: launch "
                "it again with the clips where they are now; it goes on where it stopped."
            )
        return start_job(self.root, str(record["clips"]), [str(word) for word in record["options"]])

    def wait(self, seconds: float | None = None) -> Run:
        """Wait until the training has ended; interrupting this leaves the training alone.

        Raises:
            MgkitError: it ended without being finished (the message says why), or has not ended after `seconds`.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while (state := self.look()).name not in (*ENDED, "silent", "none"):
            if deadline is not None and time.monotonic() > deadline:
                raise MgkitError(f"{self.root} has not ended after {seconds:.0f} s: it is {state.name}.")
            time.sleep(0.1)
        if state.name != "finished":
            raise MgkitError(f"{self.root} {state.name}: {state.message or 'nothing is known of it'}")
        return self.run()


def attach(out: str | Path) -> Job:
    """The training in a run folder, whoever started it: after a restart of the kernel, or from another machine.

    Raises:
        MgkitError: there is no such folder.
    """
    root = Path(out)
    if not root.is_dir():
        raise MgkitError(
            f"there is no run folder {root}: launch a training with mg.launch(clips, recipe, out)."
        )
    return Job(root)


def start_job(root: Path, clips: str, options: list[str], recipe: dict[str, Any] | None = None) -> Job:
    """Run `mgkit train` with the recipe.json of a run folder, in a session of its own, and note who runs it.

    Args:
        root: the run folder.
        clips: the clip folder, or split table, relative to the run folder.
        options: further words of the command.
        recipe: for recipe.json; None = the one that is there. It is written only once nobody else can be reading it.

    Raises:
        MgkitError: the training runs already; the message says where.
    """
    if sys.platform == "win32":
        raise MgkitError(
            "a training is launched on Linux and macOS only: use `mgkit train` in a window of its own."
        )
    job = Job(root)
    state = job.look()
    if state.name in ("starting", "running"):
        raise _trained_already(root, state)
    # Held until the new process is on record, so that of two launches at once the second finds the first there.
    with _held(root), _log(root) as log:
        state = job.look()
        if state.here:
            raise _trained_already(root, state)
        if recipe is not None:
            write_json(root / "recipe.json", recipe)
        start = log.tell()
        process = subprocess.Popen(
            [
                sys.executable, "-m", "mgkit", "train", os.path.normpath(root.resolve() / clips), str(root.resolve()),
                "--recipe-file", str(root.resolve() / "recipe.json"), *options,
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        keep_child(process)
        record = {
            "format": 1, "clips": clips, "options": options, "pid": process.pid, "host": socket.gethostname(),
            "started": process_start(process.pid), "folder": _inode(root),
            "launched": datetime.now(UTC).isoformat(), "log_from": start,
        }  # fmt: skip
        try:
            write_json(root / "job.json", record)
        except BaseException:
            process.kill()  # a training that nobody knows of must not go on
            raise
    return job


def _trained_already(root: Path, state: JobState) -> MgkitError:
    return MgkitError(
        f"{root} is being trained already ({state.message}): follow it with mg.attach, or stop it."
    )


def read_job(root: Path) -> dict[str, Any] | None:
    """job.json, checked; None where there is none."""
    path = root / "job.json"
    if not path.is_file():
        return None
    try:
        record = storage.read_dict(path)
    except MgkitError as error:
        raise MgkitError(f"{str(error).split(': ')[0]}: delete the file and launch again.") from None
    wanted = {"pid": int, "host": str, "started": str | None, "clips": str, "options": list, "log_from": int}
    for key, kind in wanted.items():
        if not isinstance(record.get(key, 0 if kind is str else ""), kind):
            raise MgkitError(
                f"{path}: {key!r} is missing or of the wrong kind: delete the file and launch again."
            )
    return record


def last_word(root: Path) -> float | None:
    """Seconds since the training last said something, in its folder or in that of a stage; None if it never did.

    The clock is that of the machine that trained: clocks a minute apart make this a minute wrong.
    """
    words = [
        path
        for folder in (root, *root.glob("stages/*"))
        for path in (folder / "live.json", folder / "status.json")
    ]
    times = []
    for path in words:
        try:
            said = datetime.fromisoformat(str(storage.read_dict(path).get("updated")))
        except (MgkitError, ValueError):
            continue
        times.append(said if said.tzinfo else said.replace(tzinfo=UTC))
    return max(0.0, (datetime.now(UTC) - max(times)).total_seconds()) if times else None


def _status(root: Path) -> dict[str, Any]:
    path = root / "status.json"
    return storage.read_dict(path) if path.is_file() else {}


def _older(status: dict[str, Any], record: dict[str, Any]) -> bool:
    """Whether the status is from before the launch, and so of an earlier process."""
    try:
        said = datetime.fromisoformat(str(status.get("updated")))
        return said < datetime.fromisoformat(str(record["launched"])).replace(microsecond=0)
    except (ValueError, TypeError, KeyError):
        return True


def _log(root: Path) -> IO[bytes]:
    try:
        return (root / "train.log").open("ab")
    except OSError as error:
        raise MgkitError(
            f"{root / 'train.log'} cannot be written ({error.strerror}): choose a folder you may write to."
        ) from None


def _inode(root: Path) -> int | None:
    try:
        return root.stat().st_ino
    except OSError:
        return None


def _owner(root: Path) -> str:
    try:
        return f"the user {(root / 'job.json').owner()}"
    except (OSError, KeyError):
        return "another user"


@contextmanager
def _held(root: Path) -> Iterator[None]:
    """`exclusive`, with some patience: of a process that was killed, threads hold the lock a moment longer."""
    with ExitStack() as stack:
        for attempt in range(50):
            try:
                stack.enter_context(exclusive(root))
                break
            except MgkitError:
                if attempt == 49:
                    raise
                time.sleep(0.1)
        yield


def _locked(root: Path) -> bool:
    """Whether a process of this machine holds the folder, as the system lists it.

    Trying the lock would tell everywhere, but a training that begins at that moment would be turned away.
    """
    try:
        inode = (root / ".lock").stat().st_ino
        return any(
            line.split()[-3].endswith(f":{inode}") for line in Path("/proc/locks").read_text().splitlines()
        )
    except (OSError, IndexError):
        return False


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} minutes ago"


# Held so that Python neither warns of a child that outlives its handle nor leaves it unreaped once it has ended.
_CHILDREN: list[subprocess.Popen[bytes]] = []


def keep_child(process: subprocess.Popen[bytes]) -> None:
    """Hold the handle of a process that is to outlive whoever started it, until `process_start` sees its end."""
    _CHILDREN.append(process)


def process_start(pid: int) -> str | None:
    """When a process of this machine began, as a text to compare; None if there is none, or only its corpse."""
    for child in _CHILDREN:
        if child.pid == pid and child.poll() is not None:
            _CHILDREN.remove(child)
            return None
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").is_file():
        try:
            # After the name, which may hold anything: state, ..., and the 20th of them is the start in clock ticks.
            words = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if words[0] in "ZX" else f"{_boot()} {words[19]}"
    told = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    kind, _, began = told.stdout.strip().partition(" ")
    return None if not began or kind.startswith("Z") else began.strip()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
