"""What a run says of a new clip or video: probabilities of each pathway, embeddings, nearest prototypes, in one file.

frames                    (N, 2) first frame of each window and one past its last; a clip is one window
fps                       frames per second, 0 = not known
probability_<output>      (N, K) float32, of rgb, pose, fused
embedding_<pathway>       (N, D) float32
prototypes_<pathway>      (K, D) float32, NaN = a class that was never seen as a true positive
played                    (N, 2) seconds of a player, of a video whose rate varies; else (0, 2)
seen                      (N,) share of the frames in which somebody is seen; NaN = without key-points
about                     the rest as JSON text: name, classes, skeleton, settings, notes
"""

from __future__ import annotations

import html
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mgkit.data.prepare.footage import Footage, SpanClips, clips_of, span_of
from mgkit.data.skeletons import Skeleton
from mgkit.data.table import Classes
from mgkit.errors import MgkitError, counted
from mgkit.files import atomic
from mgkit.results.run.records import OUTPUTS, PATHWAYS, Floats, Ints, best_output, percent, pick
from mgkit.results.scores.spotting import Windows

__all__ = ["Prediction", "PredictionList", "load_prediction"]

NAMES = {"rgb": "RGB", "pose": "pose", "fused": "fused"}


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer of a run for one clip, or for the windows of one video.

    Attributes:
        name: of the clip or video.
        classes: K classes, in label order.
        skeleton: the key-point layout of the run.
        frames: (N, 2) first frame of each window and one past its last, in order of their middles; a clip is one.
        fps: frames per second; 0 = not known, and seconds are NaN.
        probabilities: per output (rgb, pose, fused) (N, K).
        vectors: per pathway that has them (N, D) embeddings.
        prototypes: per pathway with prototypes (K, D); NaN for a class that was never seen as a true positive.
        seen: (N,) share of the frames in which somebody is seen, NaN without key-points. A window in which nobody is
            seen has an answer too, which says nothing of the pose.
        settings: how it was made.
        notes: what was odd, each {"what", "clip_id", "detail"}.
        path: the file it was saved to.
        played: (N, 2) start and end of each window as a player shows them, seconds, where the rate of the video
            varies; else (0, 2).
    """

    name: str
    classes: Classes
    skeleton: Skeleton
    frames: Ints
    fps: float
    probabilities: dict[str, Floats]
    vectors: dict[str, Floats] = field(default_factory=dict)
    prototypes: dict[str, Floats] = field(default_factory=dict)
    seen: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[dict[str, str]] = field(default_factory=list)
    path: Path | None = None
    played: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    footage: Footage | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def outputs(self) -> list[str]:
        """The outputs that there are, of rgb, pose and fused."""
        return list(self.probabilities)

    @property
    def best(self) -> str:
        """The output to report when only one is: "fused" if there is one, else the only pathway."""
        return best_output(self.probabilities)

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """(N, 2) start and end of each window in seconds, as a player shows them."""
        return self.played if len(self.played) else self._even

    @property
    def _even(self) -> npt.NDArray[np.float64]:
        return self.frames / self.fps if self.fps else np.full(self.frames.shape, np.nan)

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """(N,) middle of each window in seconds; windows of several lengths have common middles.

        Here and in `windows` frames are counted at their mean rate, as in `mg.spotting.truth`, see `as_played`.
        """
        return np.asarray(self._even.mean(axis=1))

    def as_played(self, segments: pd.DataFrame) -> pd.DataFrame:
        """Segments that were made of `windows`, with `start` and `end` as a player shows them.

        They are other seconds only where the frame rate of the video varies, as a telephone's may.
        """
        if not len(self.played):
            return segments
        frames, first = np.unique(self.frames, return_index=True)
        known = self.played.reshape(-1)[first]
        return segments.assign(
            **{end: np.interp(segments[end] * self.fps, frames, known) for end in ("start", "end")}
        )

    def scores(self, output: str | None = None) -> Floats:
        """(N, K) probabilities of an output, of `best` by default."""
        return pick(self.probabilities, self.best if output is None else output, "predictions")

    def predicted(self, output: str | None = None) -> Ints:
        """(N,) most probable class of each window; the lower index wins a tie."""
        return self.scores(output).argmax(1).astype(np.int64)

    def distances(self, pathway: str) -> Floats:
        """(N, K) cosine distance (0 to 2) of each window to each class's prototype; NaN where it has none."""
        vectors, prototypes = (
            pick(arrays, pathway, what)
            for arrays, what in ((self.vectors, "embeddings"), (self.prototypes, "prototypes"))
        )
        one, other = (
            array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-8)
            for array in (vectors.astype(np.float64), prototypes.astype(np.float64))
        )
        return np.clip(1 - one @ other.T, 0, 2).astype(np.float32)

    def top(self, row: int = 0, output: str | None = None, count: int = 3) -> list[tuple[str, float]]:
        """The most probable classes of a window with their probabilities, the most probable first."""
        scores = self.scores(output)[row]
        order = np.argsort(-scores, kind="stable")[:count]
        return [(self.classes.names[k], float(scores[k])) for k in order]

    def nearest(self, row: int = 0, pathway: str = "pose", count: int = 3) -> list[tuple[str, float]]:
        """The classes with the nearest prototypes of a window and their cosine distances, the nearest first."""
        distances = self.distances(pathway)[row]
        order = [int(k) for k in np.argsort(distances, kind="stable") if np.isfinite(distances[k])]
        return [(self.classes.names[k], float(distances[k])) for k in order[:count]]

    def agree(self, row: int = 0) -> bool:
        """Whether all pathways give a window the same class."""
        return len({int(self.predicted(name)[row]) for name in self.outputs}) == 1

    def frame(self) -> pd.DataFrame:
        """One row per window: `name`, `start`, `end` (seconds), `class` and `probability` of the best output, the class
        of each pathway (`rgb`, `pose`) and its nearest prototype (`rgb_prototype`, `rgb_distance`, ...), `seen`."""
        names = np.array(self.classes.names, dtype=object)
        rows, predicted = np.arange(len(self)), self.predicted()
        columns: dict[str, Any] = {
            "name": self.name, "start": self.seconds[:, 0], "end": self.seconds[:, 1], "class": names[predicted],
            "probability": self.scores()[rows, predicted],
        }  # fmt: skip
        if len(self.outputs) > 1:
            columns |= {name: names[self.predicted(name)] for name in self.outputs if name in PATHWAYS}
        for pathway in self.prototypes:
            distances = np.where(np.isnan(found := self.distances(pathway)), np.inf, found)
            nearest = distances.argmin(axis=1)
            least = distances[rows, nearest]
            columns[f"{pathway}_prototype"] = np.where(np.isfinite(least), names[nearest], "")
            columns[f"{pathway}_distance"] = np.where(np.isfinite(least), least, np.nan)
        if np.isfinite(self.seen).any():
            columns["seen"] = self.seen
        return pd.DataFrame(columns)

    def stretches(self, output: str | None = None) -> pd.DataFrame:
        """Neighbouring windows with the same most probable class as one row: `name`, `start`, `end` (seconds), `class`,
        mean `probability`, `windows`. For a first look: `mg.spotting` makes segments with thresholds."""
        predicted = self.predicted(output)
        first = np.flatnonzero(np.diff(predicted, prepend=-1) != 0)
        last = np.concatenate([first[1:], [len(predicted)]])
        scores = self.scores(output)[np.arange(len(self)), predicted]
        # A window of the middle belongs to both its neighbours: a stretch ends half way to the next one.
        times = self.times
        between = np.concatenate([[self._even[0, 0]], (times[1:] + times[:-1]) / 2, [self._even[-1, 1]]])
        table = pd.DataFrame(
            {
                "name": self.name, "start": between[first], "end": between[last],
                "class": [self.classes.names[predicted[at]] for at in first],
                "probability": np.add.reduceat(scores, first) / (last - first), "windows": last - first,
            }
        )  # fmt: skip
        return self.as_played(table)

    def windows(
        self, output: str | None = None, *, video: str | None = None, unseen: bool = False
    ) -> Windows:
        """What `mg.spotting` makes segments of.

        Args:
            output: rgb, pose or fused; by default the best.
            video: what the segments have as their `video`; by default the name.
            unseen: with the windows in which nobody is seen.

        Raises:
            MgkitError: the frames per second are not known.
        """
        if not self.fps:
            raise MgkitError(f"the frames per second of {self.name} are not known: state them (pose_fps).")
        chosen = np.ones(len(self), bool) if unseen else ~(self.seen == 0)
        gaps = np.diff(np.unique(self.frames.sum(axis=1))) / 2 / self.fps
        step = float(gaps.min()) if len(gaps) else float(np.diff(self._even[0])[0])
        return Windows(
            video or self.name, self.times[chosen], self.scores(output)[chosen].astype(np.float64), step
        )

    # --- the clips that were looked at ---

    def clips(self, rows: Iterable[int] | None = None) -> SpanClips:
        """The windows as clips, cropped as the network saw them, for figures and players.

            mg.widgets.ClipPlayer(prediction.clips())

        Args:
            rows: of the windows; all by default.

        Returns:
            Clips whose labels are the predicted classes. Their ids are `name`, or `name @ seconds` of a video.

        Raises:
            MgkitError: it was loaded from a file.
        """
        if self.footage is None:
            raise MgkitError(
                f"the prediction of {self.name} was loaded from {self.path}, which holds no video: predict it again "
                "with the same settings (what is there is used), and take the clips of that."
            )
        chosen = list(range(len(self)) if rows is None else rows)
        size = int(self.settings.get("size", 0))
        spans = {
            self.clip_id(row): span_of(self.footage, int(start), int(stop), size)
            for row, (start, stop) in zip(chosen, self.frames[chosen].tolist(), strict=True)
        }
        return clips_of(spans, self.classes, self.skeleton, self.predicted()[chosen].tolist())

    def clip_id(self, row: int = 0) -> str:
        """The id of a window among `clips`."""
        if len(self) == 1:
            return self.name
        start, stop = self.seconds[row].tolist()
        return (
            f"{self.name} @ {start:.2f}-{stop:.2f} s" if self.fps else f"{self.name} @ {self.frames[row, 0]}"
        )

    # --- on disk ---

    def save(self, path: str | Path) -> Path:
        """Write it as one `.npz`, whole or not at all."""
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise MgkitError(f"{path} does not end in .npz: a prediction is saved as one.")
        about = {
            "format": 1, "name": self.name, "classes": self.classes.to_dict(), "skeleton": self.skeleton.to_dict(),
            "settings": self.settings, "notes": self.notes,
        }  # fmt: skip
        arrays: dict[str, Any] = {f"probability_{name}": array for name, array in self.probabilities.items()}
        arrays |= {f"embedding_{name}": array for name, array in self.vectors.items()}
        arrays |= {f"prototypes_{name}": array for name, array in self.prototypes.items()}
        with atomic(path) as temporary:
            np.savez_compressed(
                temporary, frames=self.frames, fps=np.float64(self.fps), seen=self.seen, played=self.played,
                about=np.array(json.dumps(about, ensure_ascii=False)), **arrays,
            )  # fmt: skip
        return path

    # --- for people ---

    def __repr__(self) -> str:
        return self.text()

    def text(self) -> str:
        """What a person wants to know: of a clip its classes, of a video what was found how often."""
        if len(self) == 1:
            lines = [f"{self.name}: {_shares(self.top())}"]
            if len(self.outputs) > 1:
                said = "; ".join(
                    f"{NAMES[name]} {_shares(self.top(output=name, count=2))}"
                    for name in self.outputs
                    if name in PATHWAYS
                )
                lines.append(f"  pathways {'agree' if self.agree() else 'disagree'}: {said}")
            lines += [
                f"  nearest prototypes, {NAMES[pathway]}: "
                + ", ".join(f"{name} {distance:.2f}" for name, distance in self.nearest(pathway=pathway))
                for pathway in self.prototypes
            ]
            if np.isfinite(self.seen[:1]).all() and len(self.seen) and self.seen[0] < 1:
                lines.append(f"  somebody is seen in {percent(self.seen[0])} of its frames")
            return "\n".join(lines)
        lengths = sorted({int(stop - start) for start, stop in self.frames.tolist()})
        words = " and ".join(
            f"{length / self.fps:.2f} s" if self.fps else counted(length, "frame") for length in lengths
        )
        counts = np.bincount(self.predicted(), minlength=len(self.classes))
        order = [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]][:5]
        often = ", ".join(f"{self.classes.names[k]} {percent(counts[k] / len(self))}" for k in order)
        lines = [f"{self.name}: {counted(len(self), 'window')} of {words}", f"  most probable in: {often}"]
        nobody = int((self.seen == 0).sum())
        if nobody:
            lines.append(f"  nobody is seen in {nobody} of the windows")
        if self.path is not None:
            lines.append(f"  saved in {self.path}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the embeddings as plain values, seconds and probabilities of each window."""
        windows = []
        for row, (start, end) in enumerate(self.seconds.tolist()):
            first, stop = self.frames[row].tolist()
            window: dict[str, Any] = {
                "first_frame": first, "stop_frame": stop, **({"start": start, "end": end} if self.fps else {}),
                "class": self.classes.names[int(self.predicted()[row])],
                "probabilities": {
                    name: dict(zip(self.classes.names, map(float, array[row]), strict=True))
                    for name, array in self.probabilities.items()
                },
            }  # fmt: skip
            if self.prototypes:
                window["nearest_prototypes"] = {
                    name: dict(self.nearest(row, name, len(self.classes))) for name in self.prototypes
                }
            windows.append(window)
        return {"name": self.name, "settings": self.settings, "notes": self.notes, "windows": windows}

    def _repr_html_(self) -> str:
        if len(self) > 1:
            head, *rest = (html.escape(line.strip()) for line in self.text().splitlines())
            return (
                f"<b>{head}</b>"
                + "".join(f"<br>{line}" for line in rest)
                + self.stretches().to_html(
                    index=False,
                    max_rows=12,
                    float_format=lambda value: f"{value:.2f}",
                    columns=["start", "end", "class", "probability"],
                )
            )
        cells = []
        for title, items, unit in self._columns():
            rows = "".join(
                f"<tr><td style='text-align:left'>{html.escape(name)}</td><td>{html.escape(unit(value))}</td></tr>"
                for name, value in items
            )
            cells.append(
                f"<td style='vertical-align:top;text-align:left'><b>{html.escape(title)}</b><table>{rows}</table></td>"
            )
        return f"<b>{html.escape(self.name)}</b><table><tr>{''.join(cells)}</tr></table>"

    def _columns(self) -> list[tuple[str, list[tuple[str, float]], Any]]:
        outputs = [name for name in OUTPUTS[::-1] if name in self.probabilities]
        found: list[tuple[str, list[tuple[str, float]], Any]] = [
            (NAMES[name], self.top(output=name), percent) for name in outputs
        ]
        return found + [
            (f"nearest prototypes, {NAMES[name]}", self.nearest(pathway=name), lambda value: f"{value:.2f}")
            for name in self.prototypes
        ]


class PredictionList(list[Prediction]):
    """The predictions of several clips or videos.

    Attributes:
        left_out: name of each source without a prediction, and why.
    """

    def __init__(self, predictions: Iterable[Prediction] = ()) -> None:
        super().__init__(predictions)
        self.left_out: dict[str, str] = {}

    def frame(self) -> pd.DataFrame:
        """The windows of all, see `Prediction.frame`."""
        return pd.concat([one.frame() for one in self], ignore_index=True)

    def __repr__(self) -> str:
        return self.text(10)

    def text(self, limit: int | None = None) -> str:
        """The text of each, of the first `limit`."""
        shown = self if limit is None else self[:limit]
        more = [f"and {len(self) - len(shown)} more"] if len(shown) < len(self) else []
        if len(shown) > 1 and all(len(one) == 1 for one in shown):  # clips: one line each
            return "\n".join([PredictionList(shown).table(), *more])
        return "\n".join([*(one.text() for one in shown), *more])

    def table(self) -> str:
        """The windows of all as a table of text."""
        columns = {"start": "", "end": ""} if all(len(one) == 1 for one in self) else {}
        found = self.frame().drop(columns=list(columns))
        shares = [name for name in ("probability", "seen") if name in found]
        found[shares] = found[shares].map(lambda share: "-" if np.isnan(share) else percent(share))
        return str(found.to_string(index=False, float_format=lambda value: f"{value:.2f}"))

    def _repr_html_(self) -> str:
        return str(self.frame().to_html(index=False, max_rows=20, float_format=lambda value: f"{value:.2f}"))


def load_prediction(path: str | Path) -> Prediction:
    """Open a saved prediction.

    Raises:
        MgkitError: there is no such file, or it is not a prediction.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        about = json.loads(str(arrays["about"]))
        where = str(path)

        def named(kind: str, names: Sequence[str]) -> dict[str, Floats]:
            return {name: arrays[f"{kind}_{name}"] for name in names if f"{kind}_{name}" in arrays}

        return Prediction(
            name=str(about["name"]),
            classes=Classes.from_dict(about["classes"], where),
            skeleton=Skeleton.from_dict(about["skeleton"], where),
            frames=arrays["frames"],
            fps=float(arrays["fps"]),
            probabilities=named("probability", OUTPUTS),
            vectors=named("embedding", PATHWAYS),
            prototypes=named("prototypes", PATHWAYS),
            seen=arrays["seen"],
            played=arrays["played"],
            settings=about["settings"],
            notes=about["notes"],
            path=path,
        )
    except FileNotFoundError:
        raise MgkitError(f"there is no prediction {path}: make one with `mgkit predict`.") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, MgkitError):
            raise
        raise MgkitError(
            f"{path} is not a prediction of mgkit, or is damaged ({type(error).__name__}): delete it and predict again."
        ) from None


def _shares(items: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {percent(value)}" for name, value in items)
