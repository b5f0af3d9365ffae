"""The run folder: everything one training produced, in one layout, whatever made it.

    config.json             {"format": 2, "recipe": {...}, "code": {...}, "settings": {...}, "data": {...},
                            "pathways": ["rgb", "pose"]}; settings are what besides the recipe decides the result
                            (seed, names of the train and val splits); data holds "root" (the clip folder, or
                            the split table in it, relative to the run folder), "fingerprint", "classes",
                            "skeleton", "splits" (clips per class of each split) and "shape" (`ClipShape`)
    code/                   source of the user's own parts, with its SHA-256 in config.json
    environment.json        versions, git revision, devices, seed, hash of the clips, command
    status.json, live.json  how far the training is, see `mgkit.results.run.status`
    history.csv             one row per epoch, see `append_history`
    checkpoints/            last.pt, best.pt; step.pt while an epoch is trained
    prototypes.npz          `epoch` (E,); per pathway `<pathway>` (E, K, D) and `<pathway>_updates` (E, K)
    splits/<split>/         predictions.parquet and embeddings.npz of one evaluated split, and test.json: how
                            they were made (views, flip, weights, rectification)
    splits/<split>/views.npz, splits/<split>/saliency.npz, cost.json
                            may be added later, see `saliency.py`, `view_scores.py`, `cost.py`
    stages/<name>/          run folders of the branches a staged training began with
    review.csv              notes on single clips, see `mgkit.results.run.review`
    job.json, train.log     of a training in a process of its own, see `mgkit.results.run.jobs`
    figures/, cache/        drawn from the above; may be deleted at any time

Everything is keyed by `clip_id`, and the class order is in config.json. Every file is written whole or not at all, so a
notebook may read a run while it is being trained.

Outputs are named `rgb`, `pose` and `fused`. A run with two pathways has all three; a single-pathway run has its own
name only; a run imported from elsewhere (`import_scores`) may have `fused` only.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from mgkit.data.batches.spec import Inputs
from mgkit.data.clips import Classes, Clips, load_clips
from mgkit.data.skeletons import Skeleton
from mgkit.data.splits import is_test, shown_split
from mgkit.errors import MgkitError, command, some
from mgkit.files import write_json
from mgkit.results.run.cost import Cost, cost_path, read_cost
from mgkit.results.run.files import (
    FORMAT,
    differences,
    plain,
    read_config,
    read_dict,
    read_embeddings,
    read_history,
    read_predictions,
    read_prototypes,
    split_folder,
    store_predictions,
)
from mgkit.results.run.records import PATHWAYS, Embeddings, Ints, Predictions, PrototypeHistory, check_names
from mgkit.results.run.saliency import Saliency, read_saliency, saliency_path
from mgkit.results.run.status import read_live, read_status, write_status
from mgkit.results.run.view_scores import ViewScores, read_view_scores, views_path

if TYPE_CHECKING:
    from mgkit.results.run.review import Notes


class ClipShape(NamedTuple):
    """How long and how large the clips are that a run was trained on."""

    frames: int  # of the median clip
    longest: int  # frames of the longest
    fps: float  # frames per second of the median clip, 0 = not known
    size: int  # width of the median clip in pixels
    posed: bool  # they have key-points, around which they are cropped
    smooth: str  # how these were smoothed when they were prepared, "" = not by `prepare`


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder. Made by `create_run`, opened by `load_run`; its methods read, and never write.

    Attributes:
        root: the run folder.
        config: the contents of config.json.
    """

    root: Path
    config: dict[str, Any]
    _read: dict[str, tuple[tuple[int, int, int], Predictions]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __repr__(self) -> str:
        state = self.status()["state"] if (self.root / "status.json").is_file() else "no status"
        evaluated = f", evaluated on {some(self.splits())}" if self.splits() else ""
        parts = f"{state}, {len(self.classes)} classes, {' + '.join(self.outputs)}{evaluated}"
        return f"Run({str(self.root)!r}: {parts}{f'; CAUTION: {caution}' if (caution := cautions([self])) else ''})"

    @property
    def name(self) -> str:
        """Name in tables: that of the folder, or the one given to `import_scores`."""
        return str(self.config.get("name") or self.root.resolve().name)

    @cached_property
    def classes(self) -> Classes:
        return Classes.from_dict(self.config["data"]["classes"], where=str(self.root / "config.json"))

    @cached_property
    def skeleton(self) -> Skeleton:
        """The key-point layout; an imported run may have none, which raises a `MgkitError`."""
        if self.config["data"]["skeleton"] is None:
            raise MgkitError(
                f"{self.root} was imported without a skeleton: pass `skeleton=` to import_scores."
            )
        return Skeleton.from_dict(self.config["data"]["skeleton"], where=str(self.root / "config.json"))

    @property
    def scores_only(self) -> bool:
        """Whether it has no network: made from imported scores or those of other runs, or a baseline."""
        return bool({"imported", "ensemble", "tested", "baseline"} & set(self.recipe))

    @property
    def pathways(self) -> tuple[str, ...]:
        """Which of "rgb" and "pose" the model has."""
        return tuple(self.config["pathways"])

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs of its predictions: the pathways, and "fused" unless there is exactly one pathway."""
        return self.pathways if len(self.pathways) == 1 else (*self.pathways, "fused")

    def planned_stages(self) -> list[tuple[str, int]]:
        """Name and epochs of the stages that the recipe trains first, in their order."""
        stages = self.recipe.get("stages", [])
        return [
            (Inputs(reads=stage["inputs"]["reads"]).pathways[0], int(stage["optimisation"]["epochs"]))
            for stage in stages
        ]

    @property
    def recipe(self) -> dict[str, Any]:
        return dict(self.config["recipe"])

    def class_counts(self, split: str) -> Ints | None:
        """(K,) clips per class that a split had when the run was made; None when the run does not know the split."""
        counts = self.config["data"]["splits"].get(split)
        return None if counts is None else np.asarray(counts, np.int64)

    def clip_shape(self) -> ClipShape:
        """The shape of its training clips, as recorded or from its clip folder, which must then still be there."""
        try:
            return ClipShape(**self.config["data"]["shape"])
        except (KeyError, TypeError):
            settings = self.config.get("settings", {})
            return shape_of(self.clips(), str(settings.get("train_split", "train")))

    @property
    def chosen_on_test(self) -> str:
        """The split that its epoch was chosen on, if that is a test split or may be one by its name; else ""."""
        split = self.config.get("settings", {}).get("val_split")
        recipe = self.recipe.get("optimisation", {})
        fixed = recipe.get("keep") == "last" and not recipe.get("patience")
        return "" if split is None or fixed or is_test(split) is False else str(split)

    def environment(self) -> dict[str, Any]:
        """environment.json, the machine and versions; a resumed run lists later environments under "resumed"."""
        return read_dict(self.root / "environment.json")

    def status(self) -> dict[str, Any]:
        """{"state", "epoch", "epochs", "message", "updated"}, see `mgkit.results.run.status`."""
        return read_status(self.root)

    def live(self) -> dict[str, Any]:
        """How far the epoch is that is being trained, see `mgkit.results.run.status`; empty before the first step.

        A staged training writes to the folder of the stage it is in.
        """
        return read_live(self.root)

    def history(self) -> pd.DataFrame:
        """One row per epoch, as `append_history` describes; empty before the first epoch has ended."""
        return read_history(self.root / "history.csv")

    def splits(self) -> list[str]:
        """The splits that have been evaluated."""
        return sorted(path.parent.name for path in (self.root / "splits").glob("*/predictions.parquet"))

    @property
    def shown_split(self) -> str:
        """The evaluated split to look at first: the test split where there is one, see `data.splits.shown_split`.

        Raises:
            MgkitError: none has been evaluated.
        """
        if not self.splits():
            raise MgkitError(f"the run {self.root} has not been tested: run `{command('test', self.root)}`.")
        return shown_split(self.splits())

    def predictions(self, split: str = "test") -> Predictions:
        """Predictions of an evaluated split, checked against the classes of the run; read again when they change."""
        path = self.root / "splits" / split / "predictions.parquet"
        self._evaluated(path, split)
        found = path.stat()
        written = found.st_mtime_ns, found.st_size, found.st_ino
        if split not in self._read or self._read[split][0] != written:
            self._read[split] = written, read_predictions(path, self.classes)
        return self._read[split][1]

    def test_settings(self, split: str = "test") -> dict[str, Any]:
        """How the predictions of a split were made (views, flip, weights, ...); empty where that is not known."""
        path = self.root / "splits" / split / "test.json"
        self._evaluated(path.with_name("predictions.parquet"), split)
        return read_dict(path) if path.is_file() else {}

    def embeddings(self, split: str = "test") -> Embeddings:
        """Embeddings of an evaluated split."""
        path = self.root / "splits" / split / "embeddings.npz"
        self._evaluated(path, split)
        return read_embeddings(path)

    def has_view_scores(self, split: str = "test") -> bool:
        """Whether the split was tested with several views."""
        return views_path(self.root, split).is_file()

    def view_scores(self, split: str = "test") -> ViewScores:
        """Scores of each test view of each clip; `predictions` are the mean over the views.

        Raises:
            MgkitError: the split was tested with a single view, or not at all.
        """
        path = views_path(self.root, split)
        if not path.is_file():
            if self.scores_only:
                raise MgkitError(f"{self.root} was made from scores, so it has no scores of single views.")
            raise MgkitError(
                f"{self.root} has no scores of single views of split {split!r}: test it with several, e.g. "
                f"`{command('test', self.root, '--split', split, '--views', 10)}`."
            )
        return read_view_scores(path, self.classes)

    def has_saliency(self, split: str = "test") -> bool:
        """Whether clips of the split have been explained."""
        return saliency_path(self.root, split).is_file()

    def saliency(self, split: str = "test") -> Saliency:
        """Saliency of the clips of a split that were explained.

        Raises:
            MgkitError: none were, or the file does not fit the classes and joints of the run.
        """
        path = saliency_path(self.root, split)
        if not path.is_file():
            if self.scores_only:
                raise MgkitError(
                    f"{self.root} was made from scores, so it has no network: explain the runs it was made from."
                )
            raise MgkitError(
                f"{self.root} has no saliency of split {split!r}: run "
                f"`{command('explain', self.root, '--split', split)}`."
            )
        found = read_saliency(path)
        if found.target.max() >= len(self.classes) or (
            found.joints is not None and found.joints.shape[2] != len(self.skeleton)
        ):
            raise MgkitError(
                f"{path} is for other classes or joints than {self.root}: delete it, and explain again."
            )
        return found

    def has_cost(self) -> bool:
        """Whether `mg.measure` has measured it."""
        return cost_path(self.root).is_file()

    def cost(self) -> Cost:
        """Parameters, operations and speed of the network; a run that was not measured raises a `MgkitError`."""
        if not self.has_cost():
            raise MgkitError(f"{self.root} has not been measured: run `mg.measure` on it.")
        return read_cost(self.root)

    def prototypes(self) -> PrototypeHistory:
        """Prototypes after each epoch; a run without refinement raises a `MgkitError`."""
        path = self.root / "prototypes.npz"
        if not path.is_file():
            raise MgkitError(f"{self.root} has no prototypes: train it with prototypical refinement.")
        found = read_prototypes(path)
        for name, array in found.vectors.items():
            if array.shape[1] != len(self.classes):
                raise MgkitError(
                    f"{path}: {name} has prototypes of {array.shape[1]} classes; the run has {len(self.classes)}."
                )
        return found

    def stages(self) -> list[str]:
        """Names of the runs this staged training began with."""
        return sorted(path.parent.name for path in (self.root / "stages").glob("*/config.json"))

    def stage(self, name: str) -> Run:
        """The run of one stage; an unknown name raises a `MgkitError` that lists the known ones."""
        if name not in self.stages():
            raise MgkitError(
                f"{self.root} has no stage {name!r}; its stages are {some(self.stages()) or 'none'}."
            )
        return load_run(self.root / "stages" / name)

    def clips(self) -> Clips:
        """Open the clip folder that the run was made from.

        Raises:
            MgkitError: the run was imported and has none, the folder has moved, or it no longer holds the same
                clips, splits and classes: predictions would then be compared with the wrong truth.
        """
        recorded = self.config["data"]["root"]
        elsewhere = "open the right folder with load_clips and pass it on as `clips=`"
        if recorded is None:
            raise MgkitError(
                f"{self.root} was imported and knows no clip folder: pass clips= to mg.scores.import_scores, or "
                f"{elsewhere}."
            )
        path = (self.root.resolve() / recorded).resolve()
        if path.is_relative_to(
            Path.cwd()
        ):  # reads better in a notebook, and reveals nothing about the machine
            path = path.relative_to(Path.cwd())
        if not path.exists():
            raise MgkitError(f"the clip folder of {self.root} is no longer at {path}: {elsewhere}.")
        clips = load_clips(path)
        if clips.fingerprint != self.config["data"]["fingerprint"]:
            raise MgkitError(
                f"{path} does not hold the clips that {self.root} was made from (other clips, splits, classes or "
                f"skeleton): {elsewhere}."
            )
        return clips

    def notes(self) -> Notes:
        """The review notes of the run, see `mgkit.results.run.review`; empty where nobody has written any."""
        from mgkit.results.run.review import Notes

        return Notes(self)

    def checkpoint(self, which: str = "best") -> Path:
        """Path of checkpoints/best.pt or checkpoints/last.pt; a missing one raises a `MgkitError`."""
        if which not in ("best", "last"):
            raise MgkitError(f"there is no checkpoint {which!r}: ask for 'best' or 'last'.")
        path = self.root / "checkpoints" / f"{which}.pt"
        if not path.is_file():
            there = sorted(found.name for found in (self.root / "checkpoints").glob("*.pt"))
            raise MgkitError(
                f"{path} is missing (there is {some(there) or 'no checkpoint'}): train the run first, or, where it is "
                "finished, ask for the other checkpoint ('best' or 'last')."
            )
        return path

    @property
    def figures(self) -> Path:
        """The folder for figures; it is made when the first one is saved."""
        return self.root / "figures"

    def _evaluated(self, path: Path, split: str) -> None:
        if not path.is_file():
            there = some(self.splits()) or "none yet"
            if self.scores_only:
                remedy = (
                    "scores have none, so there is no map and no nearest clip"
                    if path.stem == "embeddings"
                    else "bring the scores of that split in as well (mg.scores.import_scores, or mg.ensemble)"
                )
                raise MgkitError(
                    f"{self.root} has no {path.stem} of split {split!r} (evaluated: {there}): it was made from scores, "
                    f"so there is no network to test; {remedy}."
                )
            raise MgkitError(
                f"{self.root} has no {path.stem} of split {split!r} (evaluated: {there}): run "
                f"`{command('test', self.root, '--split', split)}`."
            )


def cautions(runs: Sequence[Run]) -> str:
    """What must be said beside the results of runs, "" for nothing: that epochs were chosen on a test split."""
    by_split: dict[str, list[str]] = {}
    for run in runs:
        if split := run.chosen_on_test:
            by_split.setdefault(split, []).append(run.name)
    return "; ".join(
        f"the epoch of {some(dict.fromkeys(names))} was chosen on {split!r}, "
        f"{'' if is_test(split) else 'perhaps '}a test split, so accuracies on test clips are too high"
        for split, names in by_split.items()
    )


# ---------------------------------------------------------------------------------------------------------------------
# Opening and beginning


def load_run(root: str | Path) -> Run:
    """Open a run folder.

    Raises:
        MgkitError: there is no such folder, it is not a run folder, it was written by a newer mgkit, or config.json
            is broken. The other files are checked when they are read.
    """
    root = Path(root)
    if not root.is_dir():
        raise MgkitError(f"there is no run folder {root}: make one with `mgkit train`.")
    path = root / "config.json"
    if not path.is_file():
        inside = sorted(found.parent.name for found in root.glob("*/config.json"))
        hint = (
            f"did you mean one of its folders, {some(inside)}?" if inside else "make one with `mgkit train`."
        )
        raise MgkitError(f"{root} is not a run folder (no config.json): {hint}")
    run = Run(root, read_config(path))
    for name, counts in run.config["data"]["splits"].items():
        if not isinstance(counts, list) or len(counts) != len(run.classes):
            raise MgkitError(f"{path}: data.splits.{name} must hold {len(run.classes)} class counts.")
    return run


def run_folder(clips: Clips, suffix: str = "") -> Path:
    """Where the notebooks keep the run of some clips: `runs/<name>` next to the folder `data` that they are in.

    Clips in `data/imigue` have `runs/imigue`, those of a split table `data/imigue/splits/fold0.csv` have
    `runs/imigue-fold0`; clips outside a folder named `data` have a `runs` next to them.

    Args:
        clips: the clips.
        suffix: added to the name after a dash, for a further run of the same clips.
    """
    root, table = clips.root, clips.path
    base = root.parent.parent if root.parent.name == "data" else root.parent
    fold = [table.stem] if table != root else []
    return base / "runs" / "-".join([root.name, *fold, *([suffix] if suffix else [])])


def as_run(run: Run | str | Path) -> Run:
    """A run, or that of a run folder."""
    return run if isinstance(run, Run) else load_run(run)


def as_predictions(run: Run | Predictions | str | Path, split: str = "test") -> Predictions:
    """The predictions of a run (or run folder) on a split, or predictions as they are."""
    return run if isinstance(run, Predictions) else as_run(run).predictions(split)


def as_clips(clips: Clips | Run | str | Path) -> Clips:
    """Clips as they are, those that a run recorded, or those of a clip folder.

    Raises:
        MgkitError: a run whose clip folder is missing.
    """
    if isinstance(clips, Clips):
        return clips
    if isinstance(clips, Run):
        return clips.clips()
    return load_run(clips).clips() if (Path(clips) / "config.json").is_file() else load_clips(clips)


def write_predictions(
    root: str | Path, split: str, predictions: Predictions, settings: Mapping[str, Any] | None = None
) -> None:
    """Write splits/<split>/predictions.parquet: clip_id, label, one fixed-size list of K float32 per output, and
    `<pathway>_own`, `<pathway>_other`. They must be over the classes of the run.

    `settings` are how they were made (views, flip, weights, ...), in test.json next to them.
    """
    run, count = load_run(root), predictions.class_count
    if count != len(run.classes):
        raise MgkitError(f"predictions are over {count} classes; the run {run.root} has {len(run.classes)}.")
    folder = split_folder(root, split)
    for name in ("test.json", "views.npz"):  # they would be those of other predictions
        (folder / name).unlink(missing_ok=True)
    store_predictions(folder / "predictions.parquet", predictions)
    if settings is not None:
        write_json(folder / "test.json", plain(dict(settings), "the settings of the test"))


def create_run(
    root: str | Path,
    *,
    recipe: dict[str, Any],
    clips: Clips,
    pathways: Sequence[str],
    environment: dict[str, Any],
    settings: dict[str, Any] | None = None,
    epochs: int = 0,
    code: dict[str, str] | None = None,
) -> Run:
    """Begin a run folder, or return the one that is there if it was begun with the same settings (resume).

    Args:
        root: the run folder, made if it does not exist.
        recipe: the recipe, plain JSON values.
        settings: what besides the recipe decides the result (seed, splits), plain JSON values.
        clips: all splits that the run will see.
        pathways: which of "rgb" and "pose" the model has.
        environment: versions, git revision, device, seed, command.
        epochs: how many are planned.
        code: {file in `code/`: SHA-256} of the user's own parts.

    Raises:
        MgkitError: the folder holds a run with another recipe, other data or other pathways (the message names the
            first differences), the folder is something else, or the recipe is not plain JSON.
    """
    root = Path(root)
    check_names(pathways, PATHWAYS, "pathways")
    if not pathways or len(set(pathways)) != len(pathways):
        raise MgkitError(f"pathways are {list(pathways)}: give one or both of rgb and pose, each once.")
    config = {
        "format": FORMAT,
        "recipe": recipe,
        "settings": settings or {},
        "data": recorded(clips, root, str((settings or {}).get("train_split", "train"))),
        "pathways": [name for name in PATHWAYS if name in pathways],
    }
    if code:
        config["code"] = code
    return begin_run(root, config, environment, state="running", epochs=epochs)


def recorded(clips: Clips, root: Path, train: str = "train") -> dict[str, Any]:
    """What config.json of a run folder holds of the clips: where they are, the clips per class of each split, and the
    length and size of those of the training split."""
    counts = {
        name: np.bincount(
            clips.labels[(clips.rows.narrow("split") == name).to_numpy()], minlength=len(clips.classes)
        ).tolist()
        for name in clips.splits
    }
    return {
        "root": _relative(clips.path, root),
        "fingerprint": clips.fingerprint,
        "classes": clips.classes.to_dict(),
        "skeleton": clips.skeleton.to_dict(),
        "splits": counts,
        "shape": shape_of(clips, train)._asdict(),
        **({"estimators": clips.estimators} if clips.estimators else {}),
    }


def other_estimators(run: Run, clips: Clips) -> str:
    """A sentence where clips have key-points of another estimator than those that a run was trained on, else ""."""
    trained = run.config["data"].get("estimators", [])
    if not clips.estimators or "pose" not in run.pathways or clips.estimators == trained:
        return ""
    return (
        f"the key-points of {clips.root} were estimated by {some(clips.estimators)}, those of the training by "
        f"{some(trained) or 'something that is not recorded'}: their noise differs, which may cost accuracy"
    )


def shape_of(clips: Clips, train: str) -> ClipShape:
    """The shape of the clips of a split, of all clips where there is no such split."""
    chosen = clips.rows.narrow("split") == train
    used = clips.where(chosen) if chosen.any() else clips
    length = used.column("frames")
    return ClipShape(
        int(length.median()), int(length.max()), float(used.column("fps").median()),
        int(used.column("width").median()), used.has_pose, clips.smoothing,
    )  # fmt: skip


def begin_run(
    root: Path, config: dict[str, Any], environment: dict[str, Any], state: str, epochs: int
) -> Run:
    """Make a run folder from a whole configuration, or return the one that was begun with the same."""
    if root.exists() and not root.is_dir():
        raise MgkitError(f"{root} is a file: choose a folder for the run.")
    if (root / "clips.parquet").exists():
        raise MgkitError(f"{root} is a clip folder: choose another folder for the run.")
    config, environment = plain(config, "the recipe"), plain(environment, "the environment")
    if (root / "config.json").exists():
        there = load_run(root)
        refuse_other_run(root, there.config, config)
        try:
            finished = there.status()["state"] == "finished"
        except MgkitError:  # missing or broken; the checkpoints know better
            finished = False
            write_status(root, state, 0, epochs)
        if there.config != config:  # only in the path of the clip folder: it or the run has moved
            write_json(root / "config.json", config)
        if finished:  # returned as it is, even from a folder that cannot be written to
            return load_run(root)
        before = there.environment() if (root / "environment.json").is_file() else environment
        if {key: value for key, value in before.items() if key != "resumed"} != environment:
            write_json(
                root / "environment.json", {**before, "resumed": [*before.get("resumed", []), environment]}
            )
        return load_run(root)
    if any((root / "checkpoints").glob("*.pt")):
        raise MgkitError(
            f"{root} has checkpoints, but no config.json of what was trained: restore it, choose another "
            "folder, or delete this one."
        )
    write_json(root / "environment.json", environment)
    write_status(root, state, 0, epochs)
    write_json(root / "config.json", config)  # last: a folder without it is not a run folder
    return load_run(root)


def refuse_other_run(root: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a run folder whose configuration differs from a wanted one; the message names the first differences."""
    if found := differences(there, wanted):
        way = ""
        if all("optimisation." in text for text in found):
            # The learning rate of every epoch depends on how many there are: a longer run is another run.
            way = (
                f" (to train on from the weights of that run once it is finished: "
                f"--start {shlex.quote(f'all={root}')}, start={{'all': {str(root)!r}}} in Python)"
            )
        raise MgkitError(
            f"{root} already holds another run, which differs in {some(found, 3)}: choose another folder{way}, or "
            "delete that run."
        )


def _relative(target: Path, root: Path) -> str:
    """`target` as seen from `root`, so that both can be moved or mounted together."""
    try:
        return Path(os.path.relpath(target.resolve(), root.resolve())).as_posix()
    except ValueError:  # two drives
        return str(target)
