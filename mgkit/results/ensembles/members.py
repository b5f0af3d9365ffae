"""The members of an ensemble: runs, run folders, score files and scores, brought to the same order of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, some
from mgkit.results.compare.runs import aligned, run_names, subjects_of
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.records import Floats, Ints
from mgkit.results.scores import files
from mgkit.results.scores.calibration import Temperature, temper
from mgkit.results.scores.scores import Scores

__all__ = ["Member", "Members", "gather", "weights_of"]

Member = Run | Scores | str | Path
Temperatures = Sequence[float | Temperature] | Mapping[str, float | Temperature]
FUSION = "ensemble"  # the name of the fusion among its members
Given = Sequence[Member] | Mapping[str, Member]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Members:
    """Scores of M systems on the same N clips.

    Attributes:
        names: M, each once.
        clip_ids: N, in the order of the first member.
        probabilities: (M, N, K) float32.
        labels: (N,), or None if no member knows them.
        classes: None if no member knows them.
        split: that the clips are of.
        subjects: (N,) the subject of each clip, or None if not all are known.
        note: on clips that were left out, else "".
        runs: the members that are runs.
        temperatures: (M,) that the probabilities were tempered with; 1 = as they were.
    """

    names: tuple[str, ...]
    clip_ids: list[str]
    probabilities: Floats
    labels: Ints | None
    classes: Classes | None
    split: str
    subjects: list[str] | None
    note: str
    runs: tuple[Run, ...]
    temperatures: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.names)

    def truth(self) -> Ints:
        """(N,) labels; raises a `MgkitError` if no member knows them."""
        if self.labels is None:
            raise MgkitError(
                f"no member knows the true classes of {self.split!r}: pass labels= to mg.scores.read."
            )
        return self.labels


def gather(
    members: Given,
    split: str,
    *,
    output: str | None = None,
    subjects: Mapping[str, str] | None = None,
    temperatures: Temperatures | None = None,
    common: bool = False,
) -> Members:
    """Open members and bring their scores on a split to the clip order of the first.

    Args:
        members: runs, run folders, score files or scores; a dictionary gives them names.
        split: the evaluated split of the runs. Scores of another split are refused.
        output: "rgb", "pose" or "fused" of the runs; by default the best that each has.
        subjects: {clip id: subject}; by default looked up in the clip folder of the first run that has one.
        temperatures: the temperature of each member, in their order or by name; 1 by default.
        common: fuse members that were tested on different clips, on the clips that all have.

    Raises:
        MgkitError: no member, one that is given twice, names that are not unique, and members over different clips,
            labels or classes (or the same classes in another order), each by name.
    """
    if isinstance(members, Run | Scores | str | Path):  # a string would be taken for many members
        raise MgkitError("members must be a list or a dict of names.")
    given = list(members.values()) if isinstance(members, Mapping) else list(members)
    if not given:
        raise MgkitError("there are no members: give runs, run folders, score files or scores.")
    opened = [_opened(member) for member in given]
    found = [one if isinstance(one, Scores) else _of_run(one, split, output) for one in opened]
    if isinstance(members, Mapping):
        names = [str(name) for name in members]
        if FUSION in names:
            raise MgkitError(f"a member is named {FUSION!r}, as the fusion is: give it another name.")
    else:
        of_runs = iter(run_names([one for one in opened if isinstance(one, Run)]))
        named = [next(of_runs) if isinstance(one, Run) else one.name for one in opened]
        names = _unique([name or f"member {i}" for i, name in enumerate(named, 1)])
    places = [_place(member) for member in given]
    twice = [name for name, place in zip(names, places, strict=True) if places.count(place) > 1]
    if twice:
        raise MgkitError(f"{some(twice)} are the same member: give it once, with a larger weight.")
    for name, one in zip(names, found, strict=True):
        if one.split not in (None, split):
            raise MgkitError(f"the scores of {name} are of the split {one.split!r}, not of {split!r}.")
    found, note = aligned(names, found, common=common)
    runs = tuple(one for one in opened if isinstance(one, Run))
    ids = found[0].clip_ids
    labels = next((one.labels for one in found if one.labels is not None), None)
    classes = next((one.classes for one in found if one.classes is not None), None)
    seen = _subjects(runs, ids, subjects)
    heat = _heat(temperatures, names)
    scores = np.stack([temper(one.probabilities, t) for one, t in zip(found, heat.tolist(), strict=True)])
    return Members(tuple(names), ids, scores, labels, classes, split, seen, note, runs, heat)


def weights_of(
    weights: Sequence[float] | Mapping[str, float] | None, names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """(M,) weights that sum to 1; equal ones by default."""
    if weights is None:
        return np.full(len(names), 1 / len(names))
    values = np.asarray(_in_order(weights, names, "weights"), np.float64)
    if values.shape != (len(names),) or not np.isfinite(values).all() or (values < 0).any():
        raise MgkitError(
            f"weights are {weights!r}: give one number of 0 or more for each of {len(names)} members ({some(names)})."
        )
    if not values.any():
        raise MgkitError("all weights are 0: give at least one member a weight above 0.")
    return values / values.max() / (values / values.max()).sum()


def _in_order(given: Sequence[T] | Mapping[str, T], names: Sequence[str], what: str) -> Sequence[T]:
    """What is given for the members, in their order."""
    if not isinstance(given, Mapping):
        return given
    if odd := sorted(set(names) ^ set(given)):
        raise MgkitError(f"{what} and members differ in {some(odd)}: give one for each of {some(names)}.")
    return [given[name] for name in names]


def _heat(given: Temperatures | None, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """(M,) temperatures."""
    if given is None:
        return np.ones(len(names))
    given = _in_order(given, names, "temperatures")
    values = [float(one.value if isinstance(one, Temperature) else one) for one in given]
    if len(values) != len(names):
        raise MgkitError(f"there are {len(values)} temperatures for {len(names)} members: give one each.")
    return np.asarray(values)


def _opened(member: Member) -> Run | Scores:
    if isinstance(member, Run | Scores):
        return member
    return files.read(member) if Path(member).suffix.lower() in files.SUFFIXES else load_run(member)


def _place(member: Member) -> str | int:
    """The origin of a member: the same for a run and its folder."""
    if isinstance(member, Scores):
        return id(member)
    return str((member.root if isinstance(member, Run) else Path(member)).resolve())


def _of_run(run: Run, split: str, output: str | None) -> Scores:
    return Scores.of(run.predictions(split), output, split=split, name=run.name)


def _unique(names: Sequence[str]) -> list[str]:
    """Names, numbered if several are the same or one is that of the fusion."""
    out: list[str] = []
    for i, name in enumerate(names):
        number = names[: i + 1].count(name)
        new = name if names.count(name) == 1 and name != FUSION else f"{name} ({number})"
        while new in out or (new != name and new in names):
            number += 1
            new = f"{name} ({number})"
        out.append(new)
    return out


def _subjects(
    runs: Sequence[Run], clip_ids: Sequence[str], given: Mapping[str, str] | None
) -> list[str] | None:
    if given is not None:
        lacking = [clip_id for clip_id in clip_ids if clip_id not in given]
        if lacking:
            raise MgkitError(f"subjects lacks {some(lacking)}: give the subject of every clip.")
        return [str(given[clip_id]) for clip_id in clip_ids]
    return next((found for run in runs if (found := subjects_of(run, clip_ids)) is not None), None)
