"""Studies: several recipes on the same clips, over seeds or folds, in one table with intervals.

    study = mg.study(clips, {"laterals": plain, "paper's fusion": paper, "mine": ours}, "runs/study", seeds=5)
    study.table()

Every cell of a study (a recipe, a seed, a fold) is an ordinary run folder, so that widgets, figures and ensembles open
it. Branches that several recipes start from are trained once per seed.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mgkit.data.clips import Clips
from mgkit.errors import MgkitError, counted, some
from mgkit.files import read_json, write_json
from mgkit.progress import Progress, spoken
from mgkit.results.compare.runs import aligned_runs, subjects_of
from mgkit.results.ensembles.fuse import ensemble
from mgkit.results.ensembles.search import refuse_test
from mgkit.results.run.folder import Run, cautions, load_run
from mgkit.results.run.records import Predictions
from mgkit.results.scores.scores import import_scores
from mgkit.results.stats.metrics import macro_f1, mean_class_accuracy, top1, wilson
from mgkit.results.stats.resampling import resampled
from mgkit.results.stats.significance import holm, seed_difference, seed_mean, smallest_gain, subject_interval
from mgkit.training.recipe import Recipe

if TYPE_CHECKING:
    from mgkit.training.start import Start
    from mgkit.views.figures.style import PaperFigure

__all__ = ["Study", "study"]

FILE = "study.json"
FORMAT = 1
FIRST, ABOVE = "first", "above"  # the row that gains are on
STAGES = "stages"  # folder of the branches that several rows share
MERGED = "merged"  # folder of the predictions of all folds of a seed

Row = Recipe | Sequence[str]


@dataclass(frozen=True, eq=False)
class Study:
    """A folder of runs made by `mg.study`; `Study.open(folder)` opens one that is there.

    Attributes:
        root: its folder.
        folders: {row: its folder below `root`}, in the order of the table.
        seeds: the seed of each repetition.
        folds: the number of folds; 0 = one split.
        split: the split that the table is about; "val" for folds, each clip tested by the fold that held it out.
        clips: the clip folder, for the subjects; None = as the runs recorded it.
    """

    root: Path
    folders: Mapping[str, str]
    seeds: tuple[int, ...]
    folds: int
    split: str
    clips: Clips | None = None

    @classmethod
    def open(cls, root: str | Path, clips: Clips | None = None) -> Study:
        """Open the study in a folder.

        Raises:
            MgkitError: the folder holds no study, or its study.json is damaged.
        """
        path = Path(root) / FILE
        if not path.is_file():
            raise MgkitError(f"{root} does not hold a study ({FILE} is missing): make one with mg.study.")
        try:
            value = read_json(path)
            folders = {str(row["name"]): str(row["folder"]) for row in value["rows"]}
            seeds = tuple(int(seed) for seed in value["seeds"])
            found = cls(Path(root), folders, seeds, int(value["folds"]), str(value["split"]), clips)
        except (KeyError, TypeError, ValueError) as error:
            raise MgkitError(f"{path} is damaged ({error!r}): run the same mg.study again.") from None
        odd = [folder for folder in folders.values() if not re.fullmatch(r"[a-z0-9-]+", folder)]
        if value["format"] != FORMAT or odd:
            raise MgkitError(f"{path} is not a study of this version of mgkit: run mg.study again.")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The rows, in the order of the table."""
        return tuple(self.folders)

    def runs(self, name: str, *, folds: bool = False) -> list[Run]:
        """The finished runs of a row, one per seed in the order of `seeds`; each is an ordinary run.

        Args:
            name: of the row.
            folds: of a study over folds, the runs of the single folds instead of the merged predictions per seed.

        Raises:
            MgkitError: the study has no such row.
        """
        if name not in self.folders:
            raise MgkitError(
                f"the study {self.root} has no row {name!r}; its rows are {some(self.names, 20)}."
            )
        inside = [MERGED if self.folds else ""]
        if folds and self.folds:
            inside = [f"fold{i}" for i in range(self.folds)]
        found = [self._finished(name, seed, folder) for seed in self.seeds for folder in inside]
        return [run for run in found if run is not None]

    def cell(self, name: str, seed: int) -> Path:
        """The folder of a row and a seed, which is a run folder, or holds those of the folds."""
        return self.root / self.folders[name] / f"seed{seed}"

    def _finished(self, name: str, seed: int, folder: str) -> Run | None:
        """The run of a row and a seed, in a folder below that of the seed; None where none is finished."""
        path = self.cell(name, seed) / folder
        run = load_run(path) if (path / "config.json").is_file() else None
        return run if run is not None and run.status()["state"] == "finished" else None

    def labelled(self) -> tuple[list[Run], list[str]]:
        """All runs, and the row of each: `mg.method_table(runs, names=names)`."""
        pairs = [(run, name) for name in self.names for run in self.runs(name)]
        return [run for run, _ in pairs], [name for _, name in pairs]

    def table(self, *, against: str = FIRST, output: str | None = None, draws: int = 2000) -> pd.DataFrame:
        """One row per recipe: accuracy over seeds with intervals, and the gain on another row with paired tests.

        Args:
            against: "first" (the first row), "above" (each row with the one above it), or the name of a row.
            output: "rgb", "pose" or "fused"; by default the best that each run has.
            draws: bootstrap samples over subjects.

        Returns:
            See `study_table`.

        Raises:
            MgkitError: nothing is trained and tested yet, an unknown row, or rows tested on different clips.
        """
        runs = {name: self._tested(name) for name in self.names}
        return study_table(runs, self.split, against=against, clips=self.clips, output=output, draws=draws)

    def text(self, *, against: str = FIRST) -> str:
        """The table for a terminal: per cent, intervals over seeds, p of both tests after Holm."""
        from mgkit.views.figures.tables import table as printable

        return repr(printable(self.table(against=against)))

    def figure(self, *, against: str = FIRST, venue: str = "cvpr", columns: int = 1) -> PaperFigure:
        """The table as a figure: mean Top-1 of each row with its interval over seeds, every seed, and the gains.

        Args:
            against: as in `table`.
            venue, columns: see `mg.figures`.
        """
        from mgkit.views.figures.studies import study as drawn

        return drawn(self.table(against=against), venue=venue, columns=columns)

    def _tested(self, name: str) -> dict[int, Run]:
        """{seed: run} of the runs of a row that are tested on the study's split."""
        found = {seed: self._finished(name, seed, MERGED if self.folds else "") for seed in self.seeds}
        return {seed: run for seed, run in found.items() if run is not None and self.split in run.splits()}

    def __repr__(self) -> str:
        folds = f", {self.folds} folds" if self.folds else ""
        return f"Study({some(self.names, 9)}; {counted(len(self.seeds), 'seed')}{folds}; {str(self.root)!r})"


def study(
    clips: Clips,
    recipes: Mapping[str, Row],
    out: str | Path,
    *,
    seeds: int | Iterable[int] = 5,
    folds: int | Sequence[Clips] | None = None,
    split: str = "test",
    also: Sequence[str] = (),
    choose_on: str = "val",
    views: int = 1,
    flip: bool = False,
    cost: bool = False,
    train: bool = True,
    start: Mapping[str, Start | Callable[[int], Start]] | None = None,
    device: str = "auto",
    **options: Any,
) -> Study:
    """Train and test every recipe with every seed (and fold); the same call resumes, with more rows or seeds too.

    Stages that are equal in two recipes (settings, seed, clips) are trained once, and a single-pathway row serves as
    the stage of the others that equals it.

    Args:
        clips: the clip folder.
        recipes: {name in the table: recipe}. The names of earlier rows in place of a recipe, as in
            {"late fusion": ("RGB", "pose")}, are the mean of their probabilities, which needs no training. The name
            of one, as in {"+ rectification": ("+ prototypes",)}, is that row's networks tested with the weights of
            the pathways and the rectification that are chosen on `choose_on`.
        out: the folder of the study: `<out>/<name>/seed<N>` (`/fold<i>`) are run folders.
        seeds: how many, counted from 0, or the seeds themselves. Five or more give intervals worth having.
        folds: cross-validation instead of one split: the number of folds (by subject; `clips.folds`), or the folds.
            Each trains without a validation split, so nothing is chosen on the clips it is tested on.
        split: the split that the rows are compared on; not used with `folds`.
        also: further splits to test, for example "val", on which the weights of an ensemble can be searched.
        choose_on: validation split for rows that name one row, see `mg.test`; not with `folds`, which have none.
        views, flip: of the tests, see `mg.test`.
        cost: count parameters and operations of each row (`mg.measure`).
        train: train what is not there; False refuses a study of which something is missing, before anything is written.
        start: {row: what its trainings start from, as in `mg.train`, or a function that gives that of a seed}: two
            rows of one recipe, of which one starts from a run on other clips, show what the transfer brings.
        device: of trainings and tests.
        options: of `mg.train`, for example `val_split=None`, `workers=4`, `progress=False`.

    Returns:
        The study; `study.table()`, `study.figure()`, `study.runs(name)`.

    Raises:
        MgkitError: before anything is trained: no recipes or seeds, two names that make one folder, a row of rows that
            are not above it, folds that test a clip twice, options that a study sets itself. Then whatever `mg.train`
            and `mg.test` refuse.
    """
    from mgkit.models.layers import rank
    from mgkit.training.cost import measure
    from mgkit.training.machine import wait_for_all

    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    folders = _checked(recipes, numbers, options)
    if odd := [name for name in start or {} if not isinstance(recipes.get(name), Recipe)]:
        raise MgkitError(f"start names {odd[0]!r}, which is not a row with a recipe: {some(recipes)} are.")
    chosen = [name for name, row in recipes.items() if not isinstance(row, Recipe) and len(row) == 1]
    if folds is not None and chosen:
        raise MgkitError(
            f"the row {chosen[0]!r} chooses on validation clips, which folds do not have: leave it out."
        )
    if chosen:
        refuse_test(choose_on, "Name a validation split as choose_on.")
        clips.split(choose_on)
    parts = _folds(clips, folds)
    if parts:
        split = "val"
        options = {**options, "val_split": None}
    made = Study(Path(out), folders, numbers, len(parts), split, clips)
    if not train:
        _refuse_missing(made, recipes)
    if rank() == 0:
        rows = [{"name": name, "folder": folder} for name, folder in folders.items()]
        write_json(
            Path(out) / FILE,
            {"format": FORMAT, "rows": rows, "seeds": list(numbers), "folds": len(parts), "split": split},
        )
    wait_for_all()

    work = _Work(made, recipes, start or {}, device, options)
    cells = [(name, seed) for seed in numbers for name in recipes]
    for i, (name, seed) in enumerate(cells):
        work.announce(i, len(cells), name, seed)
        for fold, its in enumerate(parts) if parts else [(None, clips)]:
            row = recipes[name]
            if isinstance(row, Recipe):
                run = work.row(its, name, row, seed, fold)
                for where in (split, *(also if not parts else ())):
                    work.test(run, its, where, views=views, flip=flip)
                if cost and not run.has_cost():
                    measure(run, device=device, speed=False)
            elif name in chosen:
                source, beside = load_run(made.cell(row[0], seed)), made.cell(name, seed)
                work.test(source, its, split, views=views, flip=flip, choose_on=choose_on, out=beside)
            elif not parts and rank() == 0:
                _fuse(made, name, row, seed, (split, *also))
        if parts and rank() == 0:
            _merge(made, name, recipes[name], seed, parts)
        wait_for_all()
    return made


class _Work:
    """The trainings and tests of one call of `study`, with the time that is left."""

    def __init__(
        self,
        made: Study,
        rows: Mapping[str, Row],
        start: Mapping[str, Start | Callable[[int], Start]],
        device: str,
        options: Mapping[str, Any],
    ) -> None:
        self.study, self.rows, self.start = made, rows, start
        self.device, self.options = device, dict(options)
        self.progress = bool(options.get("progress", True))
        self.shared = {
            key: options[key] for key in ("devices", "nodes", "workers", "progress") if key in options
        }
        self.took: list[float] = []  # seconds of the cells in which something was trained
        self.began, self.trained = time.monotonic(), False

    def announce(self, i: int, of: int, name: str, seed: int) -> None:
        """One line per cell, with the time left by the mean of the cells before it."""
        from mgkit.models.layers import rank

        now = time.monotonic()
        if self.trained:
            self.took.append(now - self.began)
        self.began, self.trained = now, False
        left = f", about {spoken((of - i) * sum(self.took) / len(self.took))} left" if self.took else ""
        Progress("study", self.progress and rank() == 0).say(
            f"study: {i + 1} of {of}, {name}, seed {seed}{left}"
        )

    def row(self, clips: Clips, name: str, recipe: Recipe, seed: int, fold: int | None) -> Run:
        """Train the cell of a row."""
        given = self.start.get(name)
        start = given(seed) if callable(given) else given
        return self.train(clips, recipe, self.study.root / self.study.folders[name], seed, fold, start)

    def train(
        self,
        clips: Clips,
        recipe: Recipe,
        folder: Path,
        seed: int,
        fold: int | None,
        start: Start | None = None,
    ) -> Run:
        """Train a recipe into its cell below `folder`, its stages before it where no other row has trained them."""
        from mgkit.training.loop import train

        if start is None:
            start = {stage.name: self.stage(clips, stage, seed, fold) for stage in recipe.stages}
        out = folder / f"seed{seed}"
        out = out if fold is None else out / f"fold{fold}"
        if not (out / "config.json").is_file() or load_run(out).status()["state"] != "finished":
            self.trained = True
        return train(clips, recipe, out, seed=seed, device=self.device, start=start or None, **self.options)

    def stage(self, clips: Clips, stage: Recipe, seed: int, fold: int | None) -> Run:
        """The run of a stage: that of the row which equals it, or one that all rows with this stage share."""
        for name, row in self.rows.items():
            if isinstance(row, Recipe) and name not in self.start and row.to_dict() == stage.to_dict():
                return self.row(clips, name, row, seed, fold)
        text = json.dumps(stage.to_dict(), sort_keys=True)
        key = f"{stage.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        return self.train(clips, stage, self.study.root / STAGES / key, seed, fold)

    def test(self, run: Run, clips: Clips, split: str, **way: Any) -> None:
        """Test a run, unless it is tested in this way already."""
        from mgkit.training.inference import test, tested_as

        if not tested_as(run, split, clips, **way):
            test(run, split, clips=clips, device=self.device, **way, **self.shared)


def _checked(recipes: Mapping[str, Row], seeds: Sequence[int], options: Mapping[str, Any]) -> dict[str, str]:
    """{name: folder} of the rows, or a refusal of what cannot be a study."""
    if not recipes or not seeds:
        raise MgkitError("there is nothing to train: give recipes, {name: recipe}, and one seed or more.")
    if len(set(seeds)) != len(seeds):
        raise MgkitError(f"the seeds {some(seeds)} name one twice: give each once.")
    if "seed" in options:
        raise MgkitError("seed cannot be given to a study: each of its runs has its own.")
    folders: dict[str, str] = {}
    for name, row in recipes.items():
        folder = re.sub(r"[^a-z0-9]+", "-", name.lower().replace("+", "p")).strip("-")
        same = next((other for other, its in folders.items() if its == folder), None)
        if not folder or folder == STAGES or same is not None:
            clash = f"shares the folder {folder!r} with {same!r}" if same else "does not make a folder name"
            raise MgkitError(f"the row {name!r} {clash}: give it another name.")
        if not isinstance(row, Recipe):
            unknown = [other for other in row if other not in folders]
            if isinstance(row, str) or not row or unknown:
                raise MgkitError(
                    f"the row {name!r} is {row!r}: give a recipe, or the names of rows above it."
                )
            if len(row) == 1:
                _check_chosen(name, row[0], recipes[row[0]])
        folders[name] = folder
    return folders


def _check_chosen(name: str, of: str, row: Row) -> None:
    """Refuse a row of one row that has no network, or nothing that validation could choose."""
    if not isinstance(row, Recipe):
        raise MgkitError(f"the row {name!r} is {(of,)!r}, which has no network: name a row with a recipe.")
    if len(row.pathways) < 2 and row.refinement is None:
        raise MgkitError(
            f"the row {name!r} has nothing to choose: {of!r} has one pathway, and no prototypes."
        )


def _refuse_missing(made: Study, recipes: Mapping[str, Row]) -> None:
    """Refuse a study of which a training has not finished."""
    places = [f"fold{i}" for i in range(made.folds)] or [""]
    trained = [name for name, row in recipes.items() if isinstance(row, Recipe)]
    wanted = [(name, seed, place) for name in trained for seed in made.seeds for place in places]
    missing = sum(made._finished(*cell) is None for cell in wanted)
    if missing:
        raise MgkitError(
            f"{missing} of the {len(wanted)} trainings of the study in {made.root} are not there: train them with "
            "train=True."
        )


def _folds(clips: Clips, folds: int | Sequence[Clips] | None) -> list[Clips]:
    """The folds of a study, each clip held out once; empty without cross-validation."""
    if folds is None:
        return []
    parts = list(clips.folds(folds)) if isinstance(folds, int) else list(folds)
    held_out = [clip_id for part in parts for clip_id in part.split("val").ids]
    twice = [clip_id for clip_id, count in Counter(held_out).items() if count > 1]
    if not parts or twice:
        raise MgkitError(
            f"folds: {some(twice)} would be tested twice: give the folds of one clips.folds(...)."
            if twice
            else "folds: there are none: give a number of folds, or clips.folds(...)."
        )
    return parts


def _fuse(made: Study, name: str, members: Sequence[str], seed: int, splits: Sequence[str]) -> None:
    """Write the mean of the probabilities of other rows as a run."""
    root, runs = made.cell(name, seed), {member: made.cell(member, seed) for member in members}
    for split in splits:
        ensemble(runs, split).to_run(root, name=name)


def _merge(made: Study, name: str, row: Row, seed: int, parts: Sequence[Clips]) -> None:
    """Write the predictions of all folds of a seed as one run, each clip by the fold that held it out."""
    root = made.cell(name, seed)
    if not isinstance(row, Recipe):
        runs = {member: made.cell(member, seed) / MERGED for member in row}
        ensemble(runs, made.split).to_run(root / MERGED, name=name)
        return
    found = [load_run(root / f"fold{i}").predictions(made.split) for i in range(len(parts))]
    import_scores(
        root / MERGED,
        clip_ids=[clip_id for part in found for clip_id in part.clip_ids],
        labels=np.concatenate([part.labels for part in found]),
        probabilities={
            output: np.concatenate([part.scores(output) for part in found]) for output in found[0].outputs
        },
        classes=parts[0].classes,
        skeleton=parts[0].skeleton,
        name=f"{name}, seed {seed} ({len(parts)} folds)",
        split=made.split,
    )


# --- the table ------------------------------------------------------------------------------------------------------


def study_table(
    runs: Mapping[str, Mapping[int, Run]],
    split: str,
    *,
    against: str = FIRST,
    clips: Clips | None = None,
    output: str | None = None,
    draws: int = 2000,
) -> pd.DataFrame:
    """Compare rows that were trained with the same seeds.

    Two sources of chance are kept apart. Another seed gives another network: Student's t over the seeds, paired by
    seed. Other people give other test clips: a bootstrap over subjects of the gain averaged over the seeds.

    Args:
        runs: {row: {seed: run tested on `split`}}.
        split: the evaluated split.
        against: the row that gains are on: "first", "above" (the row above each), or its name.
        clips: the source of the subjects; by default the clip folder of the first run.
        output: "rgb", "pose" or "fused"; by default the best that each run has.
        draws: bootstrap samples over subjects.

    Returns:
        Index `row`. Columns `seeds` (how many); `top1` (mean over seeds, in [0, 1]) with its 95 % t interval
        `top1_low`, `top1_high` (within [0, 1]; missing for one seed) and `top1_of_seeds` (the list); `macro_f1`,
        `mean_class_accuracy` (means); `clips` tested and what so few show: the Wilson interval of `top1`, `clips_low`,
        `clips_high`; `against`; `gain` on that row over the seeds that both have, with the t interval `gain_low`,
        `gain_high` and the paired t-test `p_seeds`, `p_seeds_holm` after Holm over the rows; `subject_low`,
        `subject_high`, `p_subjects`, `p_subjects_holm` of the bootstrap; `resampled` ("24 subjects", or clips if
        subjects are unknown; with fewer than 8 the bootstrap is missing); `smallest_gain`, what a gain of this row
        would have to be for one seed on these clips to show it in four of five cases.

    Raises:
        MgkitError: no tested run, an unknown row, rows that were tested on different clips.
    """
    tested = {name: dict(sorted(its.items())) for name, its in runs.items() if its}
    if not tested:
        raise MgkitError("no run of the study is finished and tested yet.")
    if against not in (FIRST, ABOVE, *tested):
        raise MgkitError(f"against is {against!r}: use 'first', 'above' or one of {some(tested, 20)}.")

    # All runs in the order of clips of the first, or a refusal that names those over other clips.
    cells = [(name, seed) for name, its in tested.items() for seed in its]
    scores: dict[str, dict[int, Predictions]] = {name: {} for name in tested}
    found, _ = aligned_runs([tested[name][seed] for name, seed in cells], split)
    for (name, seed), predictions in zip(cells, found, strict=True):
        scores[name][seed] = predictions
    name, seed = cells[0]
    ids = scores[name][seed].clip_ids
    subjects = subjects_of(tested[name][seed], ids, clips)

    rows: dict[str, dict[str, object]] = {}
    names = list(scores)
    for place, name in enumerate(names):
        by_seed = scores[name]
        rows[name] = _accuracy(by_seed, output)
        base = names[max(0, place - 1)] if against == ABOVE else names[0] if against == FIRST else against
        if base != name:
            gain = _gain(by_seed, scores[base], output, subjects, draws)
            rows[name] |= {"against": base, "resampled": resampled(subjects, len(ids)), **gain}
    columns = [
        "seeds", "top1", "top1_low", "top1_high", "top1_of_seeds", "clips", "clips_low", "clips_high", "macro_f1",
        "mean_class_accuracy", "against", "gain", "gain_low", "gain_high", "p_seeds", "subject_low", "subject_high",
        "p_subjects", "resampled", "smallest_gain",
    ]  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns)
    for p in ("p_seeds", "p_subjects"):
        adjusted = holm(table[p].astype(float).tolist())
        table.insert(list(table.columns).index(p) + 1, f"{p}_holm", adjusted)
    table.index.name = "row"
    table.attrs["caution"] = cautions([run for its in tested.values() for run in its.values()])
    return table


def _accuracy(by_seed: Mapping[int, Predictions], output: str | None) -> dict[str, object]:
    answers = [(p.labels, p.predicted(output), p.class_count) for p in by_seed.values()]
    accuracies = [top1(labels, predicted) for labels, predicted, _ in answers]
    mean = seed_mean(accuracies, within=(0, 1))
    clips = len(answers[0][0])
    low, high = wilson(mean.mean * clips, clips)
    return {
        "clips": clips, "clips_low": low, "clips_high": high,
        "seeds": len(by_seed), "top1": mean.mean, "top1_low": mean.low, "top1_high": mean.high,
        "top1_of_seeds": accuracies, "macro_f1": float(np.mean([macro_f1(*one) for one in answers])),
        "mean_class_accuracy": float(np.mean([mean_class_accuracy(*one) for one in answers])),
    }  # fmt: skip


def _gain(
    ours: Mapping[int, Predictions],
    theirs: Mapping[int, Predictions],
    output: str | None,
    subjects: list[str] | None,
    draws: int,
) -> dict[str, float]:
    """The gain over the seeds that both rows have; empty if there is none."""
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return {}
    a, b = ([side[seed].correct(output) for seed in seeds] for side in (ours, theirs))
    over_seeds = seed_difference([float(one.mean()) for one in a], [float(one.mean()) for one in b])
    over_people = subject_interval(
        np.mean(a, axis=0), np.mean(b, axis=0), subjects, np.random.default_rng(0), draws=draws
    )
    apart = float(np.mean([one != other for one, other in zip(a, b, strict=True)]))
    return {
        "smallest_gain": smallest_gain(apart, len(a[0])),
        "gain": over_seeds.mean, "gain_low": over_seeds.low, "gain_high": over_seeds.high, "p_seeds": over_seeds.p,
        "subject_low": over_people.low, "subject_high": over_people.high, "p_subjects": over_people.p,
    }  # fmt: skip
