"""A live view of a training, read from its run folder only."""

from __future__ import annotations

import math
import threading
import weakref
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from mgkit.errors import MgkitError, command
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.jobs import ENDED, Job, read_job
from mgkit.results.run.status import read_status
from mgkit.views.figures.style import PaperFigure
from mgkit.views.figures.training import training_curves
from mgkit.views.widgets.shared.base import Previewed, plain
from mgkit.views.widgets.shared.bundle import script, styles

POINTS = 400  # of a curve at most: a screen shows no more


class TrainingMonitor(Previewed, anywidget.AnyWidget):
    """Live curves, speed, time left, log and state of a training, with buttons to stop and resume it.

    It only reads the run folder, so it can be closed and opened at any time, in any kernel, and on any machine that
    sees the folder; the training does not notice. It waits for a folder that does not exist yet.

    Args:
        run: a run, a job of `mg.launch`, or the path of a run folder.
        interval: seconds between two looks at the folder; after the end of a training it looks less often.

    Attributes:
        job: the training, for `job.stop()` and the like.
    """

    _esm = script("monitor/monitor.js")
    _css = styles("monitor/monitor.css")
    shown = traitlets.Dict().tag(sync=True)  # see `snapshot`
    problem = traitlets.Unicode().tag(sync=True)  # why a button did nothing
    heard = traitlets.Int().tag(sync=True)  # presses of a button that have reached Python

    def __init__(self, run: Run | Job | str | Path, *, interval: float = 1.0) -> None:
        if not interval > 0:
            raise MgkitError(f"interval is {interval!r}: use seconds above 0.")
        self.job = Job(Path(run) if isinstance(run, str | Path) else run.root)
        self._stopped: int | None = None  # the process that this monitor has asked to stop
        super().__init__(shown=snapshot(self.job))
        self.on_msg(self._received)
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=_follow, args=(weakref.ref(self), self._end, interval), name="mgkit monitor", daemon=True
        )
        self._thread.start()

    def refresh(self) -> None:
        """Read the folder now."""
        shown = snapshot(self.job, self._stopped)
        if shown != self.shown:
            self.shown = shown

    def close(self) -> None:
        """Take the widget off the page and end its thread; the training continues."""
        end = getattr(self, "_end", None)
        if end is not None:
            end.set()
        super().close()

    def to_figure(self, *, venue: str = "cvpr", columns: int = 2) -> PaperFigure:
        """`mg.figures.training_curves` so far; a `MgkitError` before the end of the first epoch."""
        return training_curves(self.job.run(), venue=venue, columns=columns)

    def _received(self, _: object, content: Any, __: object) -> None:
        act = content.get("act") if isinstance(content, dict) else None
        if act not in ("stop", "resume"):
            return
        try:
            if act == "stop":
                self.job.ask_to_stop()
                record = read_job(self.job.root)
                self._stopped = None if record is None else int(record["pid"])
            else:
                self.job.resume()
            self.problem = ""
        except (MgkitError, OSError) as error:
            self.problem = str(error)
        self.refresh()
        self.heard += 1

    def __repr__(self) -> str:
        return f"TrainingMonitor({str(self.job.root)!r}: {self.shown['state']})"

    def _preview(self) -> tuple[PaperFigure | str, str]:
        about = f"{self.shown['name']}, {self.shown['state']} when the page was saved"
        try:
            return self.to_figure(), about
        except MgkitError:
            return "", f"{about}, before the end of the first epoch"


def _follow(widget: weakref.ref[TrainingMonitor], end: threading.Event, interval: float) -> None:
    """Read the folder again and again until the widget is closed or gone."""
    wait = interval
    while not end.wait(wait):
        alive = widget()
        if alive is None:
            return
        try:
            alive.refresh()
        except OSError:
            pass  # a network share that is away for a moment: look again
        wait = 5 * interval if alive.shown["state"] in ENDED else interval
        del alive


def snapshot(job: Job, stopped: int | None = None) -> dict[str, Any]:
    """Everything the page shows, as plain JSON; `stopped` is the process that was asked to stop.

    "name", "state" ("stopping" from then until its process has ended), "message", "stop" (the command that stops it),
    "can_stop", "can_resume", "log" (lines), and "parts": for each stage and the whole,
    "name", "state", "epoch", "epochs", "current", "live" and "curves" (name to a list over "epochs_done"). A file that
    cannot be read is reported in "message" and does not raise, since another process may be writing it.
    """
    root = job.root
    shown: dict[str, Any] = {
        "name": root.resolve().name, "state": "none", "message": "", "can_stop": False, "can_resume": False, "log": [],
        "parts": [], "stop": command("stop", root.resolve()),
    }  # fmt: skip
    try:
        state = job.look()
        shown |= {"state": state.name, "message": state.message, "can_stop": state.here}
        if state.here and _ending(root, stopped):
            shown |= {"state": "stopping", "message": "it ends after the current step", "can_stop": False}
        if state.name in ENDED and state.name != "finished":
            shown["can_resume"] = read_job(root) is not None
        shown["log"] = [line.rsplit("\r", 1)[-1] for line in job.log(12).splitlines()]
        if (root / "config.json").is_file():
            run = load_run(root)
            shown["name"] = run.name
            if run.scores_only:
                shown["message"] = "This run was imported from scores: there are no curves to follow."
            else:
                shown["parts"] = _parts(run, state.name)
    except MgkitError as error:
        shown["message"] = str(error)
    return shown


def _ending(root: Path, stopped: int | None) -> bool:
    """Whether a process that still runs was asked to stop: from here, or from elsewhere, and has said so."""
    record = read_job(root)
    return (record is not None and record["pid"] == stopped) or read_status(root)["state"] != "running"


def _parts(run: Run, state: str) -> list[dict[str, Any]]:
    """The stages of a training in order, with those not started yet, and the whole at the end."""
    there, borrowed = run.stages(), run.config.get("settings", {}).get("start") or {}
    parts = [
        _part(run.stage(name), name) if name in there else _NOT_STARTED | {"name": name, "epochs": epochs}
        for name, epochs in run.planned_stages()
        if name in there or name not in borrowed  # a stage of another run is not trained here
    ]
    whole = _part(run, "joint" if len(run.pathways) > 1 else run.pathways[0])
    if whole["epoch"] == 0 and not whole["live"] and any(part["state"] != "finished" for part in parts):
        whole["state"] = "waiting"  # its status is "running" while its stages are trained
    parts.append(whole)

    current = next((part for part in parts if part["state"] != "finished"), whole)
    current["current"] = True
    if state in ENDED and current["state"] in ("running", "waiting"):
        current["state"] = state
    return parts


_NOT_STARTED: dict[str, Any] = {
    "state": "waiting", "epoch": 0, "current": False, "live": {}, "epochs_done": [], "curves": {}
}  # fmt: skip


def _part(run: Run, name: str) -> dict[str, Any]:
    """One stage, or the whole of a training without stages."""
    status, history = run.status(), run.history()
    step = max(1, -(-len(history) // POINTS))
    history = history.iloc[(len(history) - 1) % step :: step] if len(history) else history
    numeric = history.select_dtypes(include=[np.number])
    live = {key: _finite(value) for key, value in run.live().items()}
    # An epoch that has ended since is in the history.
    newer = type(live.get("epoch")) is int and live["epoch"] > status["epoch"]
    return {
        "name": name,
        "state": status["state"],
        "epoch": int(status["epoch"]),
        "epochs": int(status["epochs"]),
        "current": False,
        "live": live if newer and status["state"] != "finished" else {},
        "epochs_done": history["epoch"].tolist(),
        "curves": {str(column): plain(numeric[column]) for column in numeric if column != "epoch"},
    }


def _finite(value: Any) -> Any:
    """A value for JSON: a loss that is NaN becomes null, as in the curves."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
