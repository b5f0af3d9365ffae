"""The members of an ensemble: runs, run folders, score files and scores, brought to the same order of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mgkit.data.clips import Classes
from mgkit.errors import MgkitError, some
from mgkit.results.compare.runs import run_names, subjects_of
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.records import Floats, Ints
from mgkit.results.scores import files
from mgkit.results.scores.calibration import Temperature, temper
from mgkit.results.scores.scores import Scores

__all__ = ["Member", "Members", "aligned", "gather", "weights_of"]

Member = Run | Scores | str | Path
Temperatures = Sequence[float | Temperature] | Mapping[str, float | Temperature]
FUSION = "ensemble"  # what the fusion is called among its members
Given = Sequence[Member] | Mapping[str, Member]


@dataclass(frozen=True, eq=False)
class Members:
    """Scores of M systems on the same N clips.

    Attributes:
        names: M, each once.
        clip_ids: N, in the order of the first member.
        probabilities: (M, N, K) float32.
        labels: (N,), or None where no member knows them.
        classes: None where no member knows them.
        split: that the clips are of.
        subjects: (N,) who is seen in each clip, or None where not all are known.
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
    runs: tuple[Run, ...]
    temperatures: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.names)

    def truth(self) -> Ints:
        """(N,) labels; a `MgkitError` where no member knows them."""
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
) -> Members:
    """Open members and bring their scores on a split to the clip order of the first.

    Args:
        members: runs, run folders, score files or scores; a dictionary gives them names.
        split: the evaluated split of the runs. Scores that say they are of another one are refused.
        output: "rgb", "pose" or "fused" of the runs; by default the best that each has.
        subjects: who is seen, by clip id; by default looked up in the clip folder of the first run that has one.
        temperatures: what each member is tempered with, in their order or by name; 1 by default.

    Raises:
        MgkitError: no member, one that is given twice, names that are not unique, and members over different clips,
            labels or classes (or the same classes in another order), each by name.
    """
    if isinstance(members, Run | Scores | str | Path):
        raise MgkitError("members is a single one: give a list, or a dictionary of names.")
    given = list(members.values()) if isinstance(members, Mapping) else list(members)
    if not given:
        raise MgkitError("there are no members: give runs, run folders, score files or scores.")
    opened = [_opened(member) for member in given]
    found = [one if isinstance(one, Scores) else _of_run(one, split, output) for one in opened]
    if isinstance(members, Mapping):
        names = [str(name) for name in members]
        if FUSION in names:
            raise MgkitError(f"a member is called {FUSION!r}, as their fusion is: give it another name.")
    else:
        told = iter(run_names([one for one in opened if isinstance(one, Run)]))
        named = [next(told) if isinstance(one, Run) else one.name for one in opened]
        names = _unique([name or f"member {i}" for i, name in enumerate(named, 1)])
    places = [_place(member) for member in given]
    twice = [name for name, place in zip(names, places, strict=True) if places.count(place) > 1]
    if twice:
        raise MgkitError(f"{some(twice)} are the same member: give it once, with a larger weight.")
    for name, one in zip(names, found, strict=True):
        if one.split not in (None, split):
            raise MgkitError(f"the scores of {name} are of the split {one.split!r}, not of {split!r}.")
    found = aligned(dict(zip(names, found, strict=True)))
    runs = tuple(one for one in opened if isinstance(one, Run))
    ids = found[0].clip_ids
    labels = next((one.labels for one in found if one.labels is not None), None)
    classes = next((one.classes for one in found if one.classes is not None), None)
    seen = _subjects(runs, ids, subjects)
    heat = _heat(temperatures, names)
    scores = np.stack([temper(one.probabilities, t) for one, t in zip(found, heat.tolist(), strict=True)])
    return Members(tuple(names), ids, scores, labels, classes, split, seen, runs, heat)


def aligned(members: Mapping[str, Scores]) -> list[Scores]:
    """The scores of each member in the clip order of the first, over the same clips, labels and classes."""
    names = list(members)
    first, ours = names[0], members[names[0]]
    known, truth = (first, ours) if ours.classes else ("", ours), (first, ours.labels)
    out = [ours]
    for name in names[1:]:
        theirs = members[name]
        if theirs.class_count != ours.class_count:
            raise MgkitError(
                f"{first} is over {ours.class_count} classes, {name} over {theirs.class_count}: give members over the "
                "same class list."
            )
        a, b = known[1].classes, theirs.classes
        if a is not None and b is not None and a.names != b.names:
            only = sorted(set(a.names) ^ set(b.names))
            k = next(k for k in range(len(a)) if a.names[k] != b.names[k])
            what = (
                f"only one has {some(only)}" if only
                else f"the same in another order, class {k} is {a.names[k]!r} and {b.names[k]!r}"
            )  # fmt: skip
            raise MgkitError(
                f"{known[0]} and {name} have different classes ({what}): bring them to one class list."
            )
        if a is None and b is not None:
            known = (name, theirs)
        missing = sorted(set(ours.clip_ids) - set(theirs.clip_ids))
        extra = sorted(set(theirs.clip_ids) - set(ours.clip_ids))
        if missing or extra:
            parts = [f"lacks {some(missing)}"] if missing else []
            parts += [f"also has {some(extra)}"] if extra else []
            raise MgkitError(
                f"{name} ({len(theirs)} clips) {' and '.join(parts)}, against {first} ({len(ours)}): test all members "
                "on the same clips."
            )
        theirs = theirs.select(ours.clip_ids)
        if truth[1] is None:
            truth = (name, theirs.labels)
        elif theirs.labels is not None and (odd := np.flatnonzero(theirs.labels != truth[1])).size:
            named = some(f"{ours.clip_ids[i]} ({truth[1][i]} and {theirs.labels[i]})" for i in odd)
            raise MgkitError(
                f"{truth[0]} and {name} disagree on the true class of {named}: the labels have changed between the "
                "tests; test both again."
            )
        out.append(theirs)
    return out


def weights_of(
    weights: Sequence[float] | Mapping[str, float] | None, names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """(M,) weights that sum to 1; equal ones where none are given."""
    if weights is None:
        return np.full(len(names), 1 / len(names))
    if isinstance(weights, Mapping):
        odd = sorted(set(names) ^ set(weights))
        if odd:
            raise MgkitError(
                f"weights and members differ in {some(odd)}: give one weight for each of {some(names)}."
            )
        weights = [weights[name] for name in names]
    try:
        values = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        values = np.full(0, np.nan)
    if values.shape != (len(names),) or not np.isfinite(values).all() or (values < 0).any():
        raise MgkitError(
            f"weights are {weights!r}: give one number of 0 or more for each of {len(names)} members ({some(names)})."
        )
    if not values.any():
        raise MgkitError("all weights are 0: give at least one member a weight above 0.")
    return values / values.max() / (values / values.max()).sum()


def _heat(given: Temperatures | None, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """(M,) temperatures."""
    if given is None:
        return np.ones(len(names))
    if isinstance(given, Mapping):
        odd = sorted(set(names) ^ set(given))
        if odd:
            raise MgkitError(
                f"temperatures and members differ in {some(odd)}: give one for each of {some(names)}."
            )
        given = [given[name] for name in names]
    values = [float(one.value if isinstance(one, Temperature) else one) for one in given]
    if len(values) != len(names):
        raise MgkitError(f"there are {len(values)} temperatures for {len(names)} members: give one each.")
    return np.asarray(values)


def _opened(member: Member) -> Run | Scores:
    if isinstance(member, Run | Scores):
        return member
    if not isinstance(member, str | Path):
        raise MgkitError(
            f"a member is a {type(member).__name__}: give runs, run folders, score files or scores."
        )
    return files.read(member) if Path(member).suffix.lower() in files.SUFFIXES else load_run(member)


def _place(member: Member) -> str | int:
    """Where a member comes from: the same for a run and its folder."""
    if isinstance(member, Scores):
        return id(member)
    return str((member.root if isinstance(member, Run) else Path(member)).resolve())


def _of_run(run: Run, split: str, output: str | None) -> Scores:
    return Scores.of(run.predictions(split), output, split=split, name=run.name)


def _unique(names: Sequence[str]) -> list[str]:
    """Names, numbered where several are the same or one is that of the fusion."""
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
            raise MgkitError(f"the subjects given lack {some(lacking)}: name one for every clip.")
        return [str(given[clip_id]) for clip_id in clip_ids]
    return next((found for run in runs if (found := subjects_of(run, clip_ids)) is not None), None)
