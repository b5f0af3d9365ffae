"""A training as it goes on, read from its run folder only."""

from __future__ import annotations

import html
import math
import threading
import weakref
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from mgkit.errors import MgkitError
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.jobs import ENDED, Job, read_job
from mgkit.views.figures.style import PaperFigure
from mgkit.views.figures.training import training_curves
from mgkit.views.widgets.shared.base import plain, source, stand_in

COUNTS = ("tp", "fn", "fp")
POINTS = 400  # of a curve that go to the page: more cannot be told apart on a screen


class TrainingMonitor(anywidget.AnyWidget):
    """Curves, speed, time left, log and state of a training, live; with buttons to stop and resume it.

    It only reads the run folder, so it can be closed and opened at any time, in any kernel, and on any machine that
    sees the folder; the training knows nothing of it. A folder that does not exist yet is waited for.

    Args:
        run: a run, a job of `mg.launch`, or the path of a run folder.
        interval: seconds between two looks at the folder; a training that has ended is looked at less often.

    Attributes:
        job: the training, for `job.stop()` and the like.
    """

    _css = source("shared/widgets.css", "monitor/monitor.css")
    _esm = source("shared/common.js", "monitor/monitor.js")
    shown = traitlets.Dict().tag(sync=True)  # what `snapshot` gives
    problem = traitlets.Unicode().tag(sync=True)  # why a button did nothing

    def __init__(self, run: Run | Job | str | Path, *, interval: float = 1.0) -> None:
        if not interval > 0:
            raise MgkitError(f"interval is {interval!r}: use seconds above 0.")
        self.job = Job(Path(run) if isinstance(run, str | Path) else run.root)
        super().__init__(shown=snapshot(self.job))
        self.on_msg(self._heard)
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=_follow, args=(weakref.ref(self), self._end, interval), name="mgkit monitor", daemon=True
        )
        self._thread.start()

    def refresh(self) -> None:
        """Look at the folder now."""
        shown = snapshot(self.job)
        if shown != self.shown:
            self.shown = shown

    def close(self) -> None:
        """Take the widget off the page and end its thread; the training goes on."""
        end = getattr(self, "_end", None)
        if end is not None:
            end.set()
        super().close()

    def to_figure(self, *, venue: str = "cvpr", columns: int = 2) -> PaperFigure:
        """`mg.figures.training_curves` of what has been trained so far; a `MgkitError` before the first epoch."""
        return training_curves(self.job.run(), venue=venue, columns=columns)

    def _heard(self, _: object, content: Any, __: object) -> None:
        act = content.get("act") if isinstance(content, dict) else None
        if act not in ("stop", "resume"):
            return
        try:
            self.job.ask_to_stop() if act == "stop" else self.job.resume()
            self.problem = ""
        except (MgkitError, OSError) as error:
            self.problem = str(error)
        self.refresh()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget, and for places without widgets the curves so far and a line that says so."""
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data is not None:
            data["text/plain"] = f"TrainingMonitor({str(self.job.root)!r}: {self.shown['state']})"
            words = (
                f"How {self.shown['name']} stood when this page was saved ({self.shown['state']}): here is no kernel "
                "with widgets to follow it. Run the cell in JupyterLab, VS Code or Colab."
            )
            try:
                data["text/html"] = stand_in(self.to_figure(), words, "training curves")
            except MgkitError:
                data["text/html"] = f"<p><em>{html.escape(words)}</em></p><p>No epoch had ended yet.</p>"
        return bundle


def _follow(widget: weakref.ref[TrainingMonitor], end: threading.Event, interval: float) -> None:
    """Look at the folder until the widget is closed or gone."""
    wait = interval
    while not end.wait(wait):
        alive = widget()
        if alive is None:
            return
        try:
            alive.refresh()
        except OSError:
            pass  # a share that is away for a moment: look again
        wait = 5 * interval if alive.shown["state"] in ENDED else interval
        del alive


def snapshot(job: Job) -> dict[str, Any]:
    """All that the page shows, as plain JSON.

    "name", "state", "message", "can_stop", "can_resume", "log" (lines), and "parts": for each stage and the whole,
    "name", "state", "epoch", "epochs", "current", "live" and "curves" (name to a list over "epochs_done"). A file that
    cannot be read is said in "message"; nothing is raised, since the folder is being written by another process.
    """
    root = job.root
    shown: dict[str, Any] = {
        "name": root.resolve().name, "state": "none", "message": "", "can_stop": False, "can_resume": False, "log": [],
        "parts": [],
    }  # fmt: skip
    try:
        state = job.look()
        shown |= {"state": state.name, "message": state.message, "can_stop": state.here}
        if state.name in ENDED and state.name != "finished":
            shown["can_resume"] = read_job(root) is not None
        shown["log"] = [line.rsplit("\r", 1)[-1] for line in job.log(12).splitlines()]
        if (root / "config.json").is_file():
            run = load_run(root)
            shown["name"] = run.name
            if run.scores_only:
                shown["message"] = (
                    "This run was made of scores, not trained here: there are no curves to follow."
                )
            else:
                shown["parts"] = _parts(run, state.name)
    except MgkitError as error:
        shown["message"] = str(error)
    return shown


def _parts(run: Run, state: str) -> list[dict[str, Any]]:
    """The stages of a training in their order, those not begun yet included, and the whole at the end."""
    planned = dict(run.planned_stages())
    there = run.stages()
    settings = run.config.get("settings", {}).get("start") or {}
    names = [name for name in planned if name in there or name not in settings]
    parts = []
    for name, epochs in [
        *((name, None) for name in names),
        ("joint" if len(run.pathways) > 1 else run.pathways[0], 0),
    ]:
        if epochs is None and name not in there:
            parts.append(_part(name, "waiting", 0, planned[name]))
            continue
        one = run.stage(name) if epochs is None else run
        status = one.status()
        part = _part(name, str(status["state"]), int(status["epoch"]), int(status["epochs"]))
        history = one.history()
        step = max(1, -(-len(history) // POINTS))
        history = history.iloc[(len(history) - 1) % step :: step] if len(history) else history
        part["epochs_done"] = history["epoch"].tolist()
        numeric = history.select_dtypes(include=[np.number])
        part["curves"] = {str(column): plain(numeric[column]) for column in numeric if column != "epoch"}
        live = {key: _sent(value) for key, value in one.live().items()}
        # What was said of an epoch that has ended since is in the history, and says more there.
        epoch = live.get("epoch")
        newer = type(epoch) is int and epoch > part["epoch"]
        part["live"] = live if newer and part["state"] != "finished" else {}
        parts.append(part)
    if (
        parts[-1]["epoch"] == 0
        and not parts[-1]["live"]
        and any(p["state"] != "finished" for p in parts[:-1])
    ):
        parts[-1]["state"] = "waiting"  # its folder says running while its stages are trained
    current = next((part for part in parts if part["state"] != "finished"), parts[-1])
    current["current"] = True
    if state in ENDED and current["state"] in ("running", "waiting"):
        current["state"] = state
    return parts


def _sent(value: Any) -> Any:
    """A value as JSON has it: a loss that is NaN becomes null, as in the curves."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _part(name: str, state: str, epoch: int, epochs: int) -> dict[str, Any]:
    return {
        "name": name, "state": state, "epoch": epoch, "epochs": epochs, "current": False, "live": {},
        "epochs_done": [], "curves": {},
    }  # fmt: skip
