"""Trainings in processes of their own: start, follow, stop and resume them. All there is to know is in the run folder.

    job.json     {"format", "clips" (relative to the run folder), "options" of `mgkit train`, "pid", "host",
                 "log_from" (byte of train.log at which this process begins)}
    recipe.json  the recipe, for `mgkit train --recipe-file`
    train.log    what the processes printed, one after the other

A pid alone proves nothing, since the system gives it to another process later: a process counts as the training only if
its command line names this run folder. Whoever trains a folder, launched or not, holds its lock.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from mgkit.errors import MgkitError, command
from mgkit.files import exclusive, is_held, write_json
from mgkit.parallel import ctrl_c_deferred
from mgkit.progress import spoken
from mgkit.results.run.files import keep_code, read_dict
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.status import last_update, read_status, write_status

# Seconds after its last update during which a training without a lock is taken to run: on this machine, on another one
RECENT, FAR = 60.0, 600.0
ENDED = ("finished", "interrupted", "failed", "killed")
_MESSAGE = re.compile(r"mgkit( train: error)?: ")  # how the command line begins what it has to say


class JobState(NamedTuple):
    """How a training is.

    Attributes:
        name: "none" (nothing here yet), "running", "finished", "interrupted", "failed", or "killed" (it ended without
            an error message: kill -9, out of memory, a machine that went down).
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
        status = read_status(self.root) if (self.root / "status.json").is_file() else None
        if status is None:
            return JobState("none")
        if status["state"] == "finished":
            return JobState("finished", status["message"])
        # Before the state, which it may have written while it is still ending and holds the lock.
        if record is not None and _runs(int(record["pid"]), self.root):
            return JobState("running", f"process {record['pid']}", True)
        if status["state"] != "running":
            return JobState(status["state"], status["message"])

        # It has not reported its end, so it runs or was killed. Whoever trains holds the lock. Of a training on
        # another machine, or one that checks its videos before it takes the lock, only the last update is known.
        if is_held(self.root):
            return JobState("running", "in a process that was not launched: stop it where it was started")
        far = record is not None and record["host"] != socket.gethostname()
        age = last_update(self.root)
        if (far or record is None) and age is not None and age < (FAR if far else RECENT):
            where = f"on {record['host']}, " if far and record is not None else ""
            return JobState("running", f"{where}last update {spoken(age)} ago")
        words = None if record is None else self._last_words(int(record["log_from"]))
        return words or JobState(
            "killed", "stopped without an error message (killed, or out of memory?): resume it"
        )

    def _last_words(self, start: int) -> JobState | None:
        """How a process ended that could not write its status: by what it printed, from a byte of train.log on."""
        lines = [line for line in self._text(start).splitlines() if line.strip()]
        if lines and (lines[-1].startswith("mgkit: interrupted") or lines[-1] == "KeyboardInterrupt"):
            return JobState("interrupted", "resume with the same call, or the same command")
        if messages := [_MESSAGE.sub("", line) for line in lines if _MESSAGE.match(line)]:
            return JobState("failed", messages[-1])
        if any(line.startswith("Traceback ") for line in lines):
            return JobState("failed", lines[-1])
        return None

    def run(self) -> Run:
        """The run so far; a `MgkitError` before the training has made it."""
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
        while (
            state := self.look()
        ).name == "running":  # after its process its threads, which still hold the lock
            if time.monotonic() > deadline:
                raise MgkitError(
                    f"{self.root} has not stopped within {seconds:.0f} s: wait for the end of its step, or use "
                    "stop(hard=True)."
                )
            time.sleep(0.05)
        return state

    def ask_to_stop(self, *, hard: bool = False) -> None:
        """As `stop`, without waiting."""
        state, record = self.look(), read_job(self.root)
        if not state.here or record is None:
            why = f" ({state.message})" if state.message else ""
            raise MgkitError(f"{self.root} cannot be stopped from here: it is {state.name}{why}.")
        try:
            if hard:
                os.killpg(int(record["pid"]), signal.SIGKILL)  # it leads a session of its own
            else:
                os.kill(int(record["pid"]), signal.SIGINT)
        except ProcessLookupError:
            pass  # it ended by itself meanwhile
        except PermissionError:
            raise MgkitError(
                f"{self.root} cannot be stopped by you: process {record['pid']} belongs to another user, who can stop "
                f"it with `{command('stop', self.root)}`."
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
                "it again with the clips where they are now; it resumes where it stopped."
            )
        return start_job(self.root, str(record["clips"]), [str(word) for word in record["options"]])

    def wait(self, seconds: float | None = None) -> Run:
        """Wait until the training has ended; interrupting this leaves the training alone.

        Raises:
            MgkitError: it ended without being finished (the message gives the reason), or has not ended after
                `seconds`.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while (state := self.look()).name == "running":
            if deadline is not None and time.monotonic() > deadline:
                raise MgkitError(f"{self.root} has not ended after {seconds:.0f} s: it is still running.")
            time.sleep(0.1)
        if state.name != "finished":
            raise MgkitError(f"{self.root} {state.name}: {state.message or 'there is no training in it'}")
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


def start_job(
    root: Path,
    clips: str,
    options: list[str],
    recipe: dict[str, Any] | None = None,
    code: Mapping[str, str] | None = None,
) -> Job:
    """Run `mgkit train` with the recipe.json of a run folder, in a session of its own; a finished run is left alone.

    Args:
        root: the run folder.
        clips: the clip folder, or split table, relative to the run folder.
        options: further words of the command.
        recipe: for recipe.json; None = the one that is there. It is written only once nobody else can be reading it.
        code: {file: text} that parts of the recipe are imported from, for `code/`.

    Raises:
        MgkitError: the folder is being trained already; the message says where.
    """
    if sys.platform == "win32":
        raise MgkitError(
            "trainings are launched on Linux and macOS only: use `mgkit train` in a window of its own."
        )
    job, folder = Job(root), root.resolve()
    if (state := job.look()).name == "running":
        raise _trained_already(root, state.message)
    # Of two launches at once the second waits here, and then finds the process of the first on record. A training that
    # was killed keeps its lock for as long as its threads take to end.
    with exclusive(root, wait=5.0):
        if job.state == "finished":
            return job
        record = read_job(root)
        if record is not None and _runs(int(record["pid"]), root):
            raise _trained_already(root, f"process {record['pid']}")
        if recipe is not None:
            keep_code(root, code or {})
            write_json(root / "recipe.json", recipe)
        with _log(root) as log:
            start = log.tell()
            write_status(root, "running")
            # A stop may come before the process hears one: it waits until `mgkit train` does. Otherwise the child of
            # a kernel, which ignores Ctrl-C between its cells, would ignore the first seconds' as well.
            with ctrl_c_deferred():
                process = subprocess.Popen(
                    [
                        sys.executable, "-m", "mgkit", "train", os.path.normpath(folder / clips), str(folder),
                        "--recipe-file", str(folder / "recipe.json"), *options,
                    ],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )  # fmt: skip
        # Reaped as soon as it has ended, whether or not anybody looks: no zombie of a kernel that stays open.
        threading.Thread(target=process.wait, name="mgkit training", daemon=True).start()
        try:
            write_json(
                root / "job.json",
                {
                    "format": 1, "clips": clips, "options": options, "pid": process.pid, "host": socket.gethostname(),
                    "log_from": start,
                },
            )  # fmt: skip
        except BaseException:
            process.kill()  # a training that nobody knows of must not run on
            raise
    return job


def _trained_already(root: Path, where: str) -> MgkitError:
    return MgkitError(f"{root} is being trained already ({where}): follow it with mg.attach, or stop it.")


def read_job(root: Path) -> dict[str, Any] | None:
    """Read job.json, checked; None where there is none."""
    path = root / "job.json"
    if not path.is_file():
        return None
    remedy = "delete the file and launch again"
    try:
        record = read_dict(path)
    except MgkitError as error:
        raise MgkitError(f"{str(error).split(': ')[0]}: {remedy}.") from None
    for key, kind in {"pid": int, "host": str, "clips": str, "options": list, "log_from": int}.items():
        if not isinstance(record.get(key), kind):
            raise MgkitError(f"{path}: {key!r} is missing or not of type {kind.__name__}: {remedy}.")
    return record


def _runs(pid: int, root: Path) -> bool:
    """Whether a process of this machine is the one that was started to train this folder."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = process.cmdline()
        # On a busy machine a process that was started a moment ago may have no command line yet.
        return str(root.resolve()) in words or (not words and time.time() - process.create_time() < RECENT)
    except psutil.Error:
        return False


def _log(root: Path) -> IO[bytes]:
    try:
        return (root / "train.log").open("ab")
    except OSError as error:
        raise MgkitError(
            f"{root / 'train.log'} cannot be written ({error.strerror}): choose a folder you may write to."
        ) from None
