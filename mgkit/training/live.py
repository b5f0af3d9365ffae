"""What a running training says between two epochs: in the bar, and in live.json for whoever looks on from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mgkit.progress import Progress
from mgkit.results.runs import write_live

EVERY = 1.0  # seconds between two words: reading the sums makes the device wait, so not at every step


class Live:
    """The voice of one epoch; `step` is called after every step and does something about once a second.

    Nothing that goes wrong with live.json (a full disk, a folder that is gone) stops a training: it is a help to
    people, and the next word may get through.

    Args:
        out: the run folder; None on a process that only follows, which says nothing.
        head: what stays the same over the epoch: "stage", "epoch" (from 1), "epochs", "learning_rate", "steps" and
            "of" (clips of the epoch).
        sums: gives the means and counts so far, under the names of history.csv.
        bar: moved along.
        step: steps of this epoch that were made before, by a run that was resumed within it.
        clips: clips of these steps.
    """

    def __init__(
        self,
        out: Path | None,
        head: Mapping[str, Any],
        sums: Callable[[], Mapping[str, float]],
        bar: Progress,
        *,
        step: int = 0,
        clips: int = 0,
    ) -> None:
        self.out, self.head, self.sums, self.bar = out, dict(head), sums, bar
        self._step, self._clips, self._before = step, clips, clips
        self._began = time.monotonic()
        self._spoke = float("-inf")

    def step(self, clips: int) -> None:
        """One more step, of so many clips."""
        self._step += 1
        self._clips += clips
        now = time.monotonic()
        text = ""
        if self.out is None:
            return
        if now - self._spoke >= EVERY or self._step == self.head["steps"]:
            self._spoke = now
            word = self.word(now)
            text = brief(word)
            try:
                write_live(self.out, word)
            except OSError:
                pass
        self.bar.advance(clips, self.head["of"], text)

    def word(self, now: float) -> dict[str, Any]:
        """What live.json holds; `seconds_left` counts the epochs of this stage, without their validation."""
        speed = (self._clips - self._before) / max(now - self._began, 1e-9)
        left = (self.head["epochs"] - self.head["epoch"] + 1) * self.head["of"] - self._clips
        return {
            **self.head,
            "step": self._step,
            "clips": self._clips,
            "clips_per_second": round(speed, 2),
            "seconds_left": round(left / speed, 1) if speed > 0 else None,
            **self.sums(),
            "updated": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }


def brief(word: Mapping[str, Any]) -> str:
    """Loss, accuracy and time left of the stage, short enough for a bar.

    >>> brief({"loss": 1.5, "train_top1_rgb": 0.25, "seconds_left": 75})
    'loss 1.500, rgb 25 %, 1:15 left'
    """
    parts = [f"loss {word['loss']:.3f}"] if "loss" in word else []
    accuracies = [(name, word.get(f"train_top1_{name}")) for name in ("rgb", "pose", "fused")]
    parts += [f"{name} {100 * value:.0f} %" for name, value in accuracies if value is not None]
    if word.get("seconds_left") is not None:
        parts.append(f"{clock(word['seconds_left'])} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as minutes or hours.

    >>> clock(75), clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
