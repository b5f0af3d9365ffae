"""Files for the leaderboards of micro-gesture challenges, written only if they are valid.

    miga2023   zip with Submission.csv: no header, `<VVVV>_<row>,<label>`
    miga2025   prediction.csv, or a zip with it: header `Id,Target`, the same rows
    ma52       zip with prediction.csv (Codabench): header `vid,action_pred_1,...,action_pred_5,body_pred_1,...,
               body_pred_5`, a row `<SSSS_VV_NNNN>.mp4` and class numbers from the most to the least probable

The id of a clip is its `clip_id`, as `mg.prepare` makes it from iMiGUE and MA-52. A file is refused with everything
that is wrong with it: leaderboards count what is left, or reject it after using up one of the day's attempts.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mgkit.data.clips import Classes, Clips
from mgkit.data.prepare.plan import LEFT_OUT
from mgkit.data.readers import load_classes
from mgkit.errors import MgkitError, some
from mgkit.files import atomic
from mgkit.results.run.folder import Predictions, Run, load_run
from mgkit.results.stats.metrics import group_scores

__all__ = ["CHALLENGES", "check", "read_ids", "write"]

TOP = 5  # ranks of MA-52
_LARGEST = 1 << 26  # bytes: a file that is no submission is not unpacked into memory
_MA52_HEADER = ("vid", *(f"{kind}_pred_{i + 1}" for kind in ("action", "body") for i in range(TOP)))


@dataclass(frozen=True)
class Challenge:
    """What a leaderboard takes.

    Attributes:
        dataset: whose class list its labels are of.
        header: of the table; empty = none.
        member: name of the table inside a zip.
        suffixes: of the file, the usual one first.
        pattern: of the ids, as a regular expression; example: one.
        ending: of the ids in the file, beside the clip id.
    """

    dataset: str
    header: tuple[str, ...]
    member: str
    suffixes: tuple[str, ...]
    pattern: str
    example: str
    ending: str = ""


CHALLENGES = {
    "miga2023": Challenge("imigue", (), "Submission.csv", (".zip",), r"[^\W_]+_\d+", "0054_17"),
    "miga2025": Challenge(
        "imigue", ("Id", "Target"), "prediction.csv", (".csv", ".zip"), r"[^\W_]+_\d+", "0054_17"
    ),
    "ma52": Challenge("ma52", _MA52_HEADER, "prediction.csv", (".zip",), r"[\w-]+", "0003_01_0005", ".mp4"),
}


def write(
    scores: Run | Predictions | str | Path,
    path: str | Path,
    challenge: str = "miga2025",
    *,
    split: str = "test",
    ids: Sequence[str] | str | Path | None = None,
    clips: Clips | None = None,
    output: str | None = None,
) -> Path:
    """Write what a leaderboard takes; nothing is written unless all of it is valid.

    Args:
        scores: a tested run, its folder, or predictions.
        path: the file to write; its suffix decides between a csv and a zip where both are taken.
        challenge: "miga2023", "miga2025" or "ma52".
        split: the split of the run, and of the clip folder.
        ids: the ids that the leaderboard expects, in its order, or a file of them (see `read_ids`). By default those of
            the split of the clip folder, in the order of their numbers.
        clips: the clip folder, where it is not the one that the run was made from.
        output: "rgb", "pose" or "fused"; by default the best that there is.

    Returns:
        `path`.

    Raises:
        MgkitError: another class list than the challenge's (compared by name where names are known, else by number),
            ids that are missing, extra or repeated, clips that `prepare` had to leave out, a suffix that the
            leaderboard does not take, nothing to tell which ids it expects.
    """
    spec, path = _challenge(challenge), Path(path)
    _suffix(path, challenge)
    run = load_run(scores) if isinstance(scores, str | Path) else scores
    if isinstance(run, Run):
        predictions = run.predictions(split)
        if ids is None and clips is None:
            clips = run.clips()
    else:
        predictions = run
    expected = _expected(ids, clips, split, challenge)
    if expected is None:
        raise MgkitError(
            "predictions alone do not say which ids the leaderboard expects: pass ids=, or clips= and split=."
        )
    classes = load_classes(spec.dataset, None)
    _same_classes(predictions, classes, challenge)
    have = set(predictions.clip_ids)
    problems = []
    if missing := [name for name in expected if name not in have]:
        problems.append(f"there are no predictions of {len(missing)} expected clips ({some(missing)})")
    if extra := sorted(have - set(expected)):
        problems.append(f"{len(extra)} clips are not expected ({some(extra)})")
    if problems:
        raise MgkitError(
            f"{path} was not written: {'; '.join(problems)}. Test the run on the clips that the leaderboard has."
        )
    rows = [list(spec.header)] if spec.header else []
    rows += _rows(predictions.select(expected).scores(output), expected, spec, classes)
    if found := _problems(rows, spec, classes, expected):
        raise MgkitError(f"{path} was not written: {'; '.join(found)}.")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with atomic(path) as temporary:
        if path.suffix.lower() == ".zip":
            # The same predictions give the same bytes: no date of today.
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(zipfile.ZipInfo(spec.member), text.getvalue(), zipfile.ZIP_DEFLATED)
        else:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="\n")
        if _read(temporary, spec) != rows:
            raise MgkitError(f"{path} was not written: it did not read back as it should.")
    return path


def check(
    path: str | Path,
    challenge: str = "miga2025",
    *,
    ids: Sequence[str] | str | Path | None = None,
    clips: Clips | None = None,
    split: str = "test",
) -> pd.DataFrame:
    """Read a file for a leaderboard, whoever wrote it; everything that is wrong with it is in the error.

    Args:
        path: the csv or zip.
        challenge: "miga2023", "miga2025" or "ma52".
        ids, clips, split: which ids are expected, as in `write`. Without ids and clips nobody can tell
            whether the file is complete: only its form is checked.

    Returns:
        One row a clip: `clip_id`, and `label`, or the ranks of MA-52 under their names.

    Raises:
        MgkitError: the file cannot be read, or is not valid.
    """
    spec, path = _challenge(challenge), Path(path)
    _suffix(path, challenge)
    rows, classes = _read(path, spec), load_classes(spec.dataset, None)
    problems = _problems(rows, spec, classes, _expected(ids, clips, split, challenge))
    if problems:
        raise MgkitError(f"{path} is not valid: {'; '.join(problems)}.")
    body = rows[1:] if spec.header else rows
    columns = ["clip_id", *(spec.header[1:] if spec.dataset == "ma52" else ["label"])]
    table = pd.DataFrame(
        [[row[0].removesuffix(spec.ending), *map(int, row[1:])] for row in body], columns=columns
    )
    return table


def read_ids(path: str | Path) -> list[str]:
    """Clip ids from a file: the first word of each line, for example of a sample submission or a list of videos.

    What follows a comma or a space is not read, a first line that begins with Id or vid is a header, and `.mp4` at the
    end of a name is left out.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MgkitError(f"{path} cannot be read as a list of ids ({error}).") from None
    words = [re.split(r"[,;\s]", line.strip(), maxsplit=1)[0] for line in lines if line.strip()]
    if words and words[0].lower() in ("id", "vid", "clip_id"):
        words = words[1:]
    if not words:
        raise MgkitError(f"{path} has no ids: one a line is expected.")
    return [word.removesuffix(".mp4") for word in words]


def _challenge(name: str) -> Challenge:
    if name not in CHALLENGES:
        raise MgkitError(f"there is no challenge {name!r}: use {', '.join(CHALLENGES)}.")
    return CHALLENGES[name]


def _suffix(path: Path, challenge: str) -> None:
    taken = CHALLENGES[challenge].suffixes
    if path.suffix.lower() not in taken:
        raise MgkitError(f"{path}: {challenge} takes {' or '.join(taken)}: name the file so.")


def _expected(
    ids: Sequence[str] | str | Path | None, clips: Clips | None, split: str, challenge: str
) -> list[str] | None:
    """The ids that the leaderboard expects, in its order; None where nobody says."""
    spec = CHALLENGES[challenge]
    if ids is not None:
        expected = read_ids(ids) if isinstance(ids, str | Path) else [str(name) for name in ids]
        where = f"the ids in {ids}" if isinstance(ids, str | Path) else "the ids"
        if not expected:
            raise MgkitError("no ids are expected: give at least one.")
        repeated = [name for name, count in Counter(expected).items() if count > 1]
        if repeated:
            raise MgkitError(f"{where}: {some(repeated)} stand twice.")
    elif clips is not None:
        chosen = clips.split(split)
        expected, where = sorted(chosen.ids, key=_by_number), f"the clips of {clips.root}"
        # A clip that could not be prepared has no row, and its split is that of the other clips of its video.
        others = {_video(name) for name in set(clips.ids) - set(expected)}
        left_out = sorted(
            entry["clip_id"] for entry in clips.report
            if entry["what"].startswith(LEFT_OUT) and _video(entry["clip_id"]) not in others
        )  # fmt: skip
        if left_out:
            raise MgkitError(
                f"{clips.root} was prepared without {some(left_out)}, which the leaderboard expects: mend them and "
                "prepare again, or pass ids= to say that it does not."
            )
    else:
        return None
    odd = [name for name in expected if not re.fullmatch(spec.pattern, name)]
    if odd:
        raise MgkitError(
            f"{where} are no ids of {challenge}: {some(odd)}. They look like {spec.example}: use the clips that "
            f"`mgkit prepare {spec.dataset}` makes."
        )
    return expected


def _same_classes(predictions: Predictions, classes: Classes, challenge: str) -> None:
    if predictions.class_count != len(classes):
        raise MgkitError(
            f"{challenge} has {len(classes)} classes and the predictions have {predictions.class_count}: they are of "
            "other data."
        )
    if predictions.classes is not None and predictions.classes.names != classes.names:
        ours = predictions.classes.names
        first = next(i for i, (a, b) in enumerate(zip(ours, classes.names, strict=True)) if a != b)
        raise MgkitError(
            f"class {first} of the predictions is {ours[first]!r}, that of {challenge} {classes.names[first]!r}: its "
            "labels are numbers in another order. Predictions whose `classes` is None are compared by number only."
        )


def _rows(scores: np.ndarray, ids: Sequence[str], spec: Challenge, classes: Classes) -> list[list[str]]:
    """The lines of the table; of classes with the same probability the lower one comes first."""
    if spec.dataset != "ma52":
        return [[name, str(label)] for name, label in zip(ids, scores.argmax(1), strict=True)]
    assert classes.groups is not None
    _, bodies = group_scores(scores, classes.groups)
    ranked = [np.argsort(-array, axis=1, kind="stable")[:, :TOP] for array in (scores, bodies)]
    return [
        [f"{name}{spec.ending}", *map(str, actions), *map(str, body)]
        for name, actions, body in zip(ids, *ranked, strict=True)
    ]


def _read(path: Path, spec: Challenge) -> list[list[str]]:
    """The rows of a csv, or of the csv in a zip."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if names != [spec.member]:
                    raise MgkitError(
                        f"{path} is not valid: it holds {some(names) or 'nothing'}, and {spec.member} alone is taken "
                        "(no folder around it)."
                    )
                if archive.getinfo(spec.member).file_size > _LARGEST:
                    raise MgkitError(f"{path} is not valid: {spec.member} is far too large for a submission.")
                content = archive.read(spec.member)
        else:
            if path.stat().st_size > _LARGEST:
                raise MgkitError(f"{path} is not valid: it is far too large for a submission.")
            content = path.read_bytes()
        text = content.decode("utf-8")
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        UnicodeDecodeError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise MgkitError(f"{path} cannot be read ({error}).") from None
    try:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise MgkitError(f"{path} is not valid: it is no csv ({error}).") from None


def _problems(
    rows: Sequence[Sequence[str]], spec: Challenge, classes: Classes, expected: Sequence[str] | None
) -> list[str]:
    """Everything that is wrong with the rows of a submission."""
    problems: list[str] = []
    if rows and rows[0] and rows[0][0].startswith("\ufeff"):
        problems.append("it begins with a byte-order mark")
        rows = [[rows[0][0][1:], *rows[0][1:]], *rows[1:]]
    if spec.header:
        if not rows or tuple(rows[0]) != spec.header:
            said = ",".join(rows[0]) if rows else ""
            problems.append(f"its header is {said!r}, not {','.join(spec.header)!r}")
        # A first line that is no header is a row of its own: it is counted as one.
        rows = rows[1:] if rows and (tuple(rows[0]) == spec.header or not _is_row(rows[0])) else rows
    width = len(spec.header) or 2
    short = [i for i, row in enumerate(rows) if len(row) != width]
    if short:
        problems.append(
            f"row {short[0] + 1} has {len(rows[short[0]])} cells, not {width} ({len(short)} such rows)"
        )
        rows = [row for row in rows if len(row) == width]
    if not rows:
        return [*problems, "it has no rows"]
    names = [row[0] for row in rows]
    ended = [name for name in names if not name.endswith(spec.ending)]
    if ended:
        problems.append(f"ids do not end in {spec.ending}: {some(ended)}")
    bare = [name.removesuffix(spec.ending) for name in names]
    odd = [name for name in bare if not re.fullmatch(spec.pattern, name)]
    if odd:
        problems.append(f"no ids like {spec.example}: {some(map(repr, odd))}")
    repeated = [name for name, count in Counter(bare).items() if count > 1]
    if repeated:
        problems.append(f"{len(repeated)} ids stand twice: {some(repeated)}")
    if expected is not None:
        problems += _against(bare, expected)
    return problems + _values(rows, bare, spec, classes)


def _against(names: Sequence[str], expected: Sequence[str]) -> list[str]:
    problems = []
    if missing := [name for name in expected if name not in set(names)]:
        problems.append(f"{len(missing)} of {len(expected)} expected ids are missing: {some(missing)}")
    if extra := [name for name in dict.fromkeys(names) if name not in set(expected)]:
        problems.append(f"{len(extra)} ids are not expected: {some(extra)}")
    if not problems and len(names) == len(expected) and list(names) != list(expected):
        first = next(i for i, (a, b) in enumerate(zip(names, expected, strict=True)) if a != b)
        problems.append(
            f"the ids are in another order: row {first + 1} is {names[first]}, not {expected[first]}"
        )
    return problems


def _values(
    rows: Sequence[Sequence[str]], names: Sequence[str], spec: Challenge, classes: Classes
) -> list[str]:
    """What is wrong with the class numbers."""
    columns = spec.header[1:] or ("label",)
    groups = len(set(classes.groups or ()))
    limits = [groups if column.startswith("body") else len(classes) for column in columns]
    problems = []
    for j, (column, limit) in enumerate(zip(columns, limits, strict=True), start=1):
        wrong = [
            f"{name} {row[j]!r}"
            for name, row in zip(names, rows, strict=True)
            if not (re.fullmatch(r"\d{1,4}", row[j], re.ASCII) and int(row[j]) < limit)
        ]
        if wrong:
            problems.append(f"{column} is not 0 to {limit - 1} in {len(wrong)} rows: {some(wrong)}")
    if spec.dataset == "ma52" and not problems:
        # Of the bodies the organisers' own example names some twice.
        double = [
            name for name, row in zip(names, rows, strict=True) if len(set(map(int, row[1 : TOP + 1]))) < TOP
        ]
        if double:
            problems.append(f"an action stands twice among the {TOP} of {len(double)} rows: {some(double)}")
    return problems


def _is_row(cells: Sequence[str]) -> bool:
    return any(cell.strip().isdecimal() for cell in cells[1:])


def _video(clip_id: str) -> str:
    return clip_id.rpartition("_")[0]


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts 0054_2 before 0054_10."""
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
