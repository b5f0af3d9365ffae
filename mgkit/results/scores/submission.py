"""Files for the leaderboards of micro-gesture challenges, written only if they are valid.

    miga2023   zip with Submission.csv: no header, `<VVVV>_<row>,<label>`
    miga2025   prediction.csv, or a zip with it: header `Id,Target`, the same rows
    ma52       zip with prediction.csv (Codabench): header `vid,action_pred_1,...,action_pred_5,body_pred_1,...,
               body_pred_5`, rows `<SSSS_VV_NNNN>.mp4` and class numbers from the most to the least probable

The id of a clip is its `clip_id`, as `mg.prepare` makes it from iMiGUE and MA-52. A refusal lists everything that is
wrong with a file: leaderboards score the valid rows only, or reject a file and count it as one of the day's attempts.
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
from mgkit.data.readers import LEFT_OUT, background, load_classes
from mgkit.errors import MgkitError, counted, some
from mgkit.files import atomic
from mgkit.results.run.folder import Run, load_run
from mgkit.results.run.records import Predictions
from mgkit.results.stats.metrics import group_scores

__all__ = ["CHALLENGES", "check", "read_ids", "write"]

TOP = 5  # ranks of MA-52
_LARGEST = 1 << 26  # bytes; larger files are not unpacked into memory
_MA52_HEADER = ("vid", *(f"{kind}_pred_{i + 1}" for kind in ("action", "body") for i in range(TOP)))


@dataclass(frozen=True)
class Challenge:
    """The format of a leaderboard.

    Attributes:
        dataset: whose class list the labels refer to.
        header: of the table; empty = no header.
        member: name of the table inside a zip.
        suffixes: of the file, the usual one first.
        pattern: of the ids, as a regular expression; example: one.
        ending: of the ids in the file, after the clip id.
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
    """Write the file that a leaderboard takes; nothing is written unless all of it is valid.

    Args:
        scores: a tested run, its folder, or predictions.
        path: the file to write; its suffix decides between a csv and a zip if both are accepted.
        challenge: "miga2023", "miga2025" or "ma52".
        split: the split of the run, and of the clip folder. A background class is left out, as are its clips
            (`Predictions.without_background`).
        ids: the ids that the leaderboard expects, in its order, or a file of them (see `read_ids`). By default those of
            the split of the clip folder, in the order of their numbers.
        clips: the clip folder, if it is not the one that the run was made from.
        output: "rgb", "pose" or "fused"; by default the best that there is.

    Returns:
        `path`.

    Raises:
        MgkitError: another class list than the challenge's (compared by name if names are known, else by number),
            ids that are missing, extra or repeated, clips that `prepare` had to leave out, a suffix that the
            leaderboard does not take, unknown ids.
    """
    path = Path(path)
    spec = _challenge(challenge, path)
    run = load_run(scores) if isinstance(scores, str | Path) else scores
    predictions = (run.predictions(split) if isinstance(run, Run) else run).without_background()
    if isinstance(run, Run) and ids is None and clips is None:
        clips = run.clips()
    expected = _expected(ids, clips, split, spec)
    if expected is None:
        raise MgkitError(
            "predictions do not know the ids that the leaderboard expects: pass ids=, or clips=."
        )
    classes = load_classes(spec.dataset, None)
    _same_classes(predictions, classes, challenge)
    if problems := _differences(predictions.clip_ids, expected, "no predictions of"):
        raise MgkitError(
            f"{path} was not written: {'; '.join(problems)}. Test the run on the clips of the leaderboard."
        )
    rows = [list(spec.header)] if spec.header else []
    rows += _rows(predictions.select(expected).scores(output), expected, spec, classes)
    if problems := _problems(rows, spec, classes, expected):
        raise MgkitError(f"{path} was not written: {'; '.join(problems)}.")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with atomic(path) as temporary:
        if path.suffix.lower() == ".zip":
            # The same predictions give the same bytes: the date of the entry is fixed.
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(zipfile.ZipInfo(spec.member), text.getvalue(), zipfile.ZIP_DEFLATED)
        else:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="\n")
    return path


def check(
    path: str | Path,
    challenge: str = "miga2025",
    *,
    ids: Sequence[str] | str | Path | None = None,
    clips: Clips | None = None,
    split: str = "test",
) -> pd.DataFrame:
    """Read a file for a leaderboard, whoever wrote it; the error lists everything that is wrong with it.

    Args:
        path: the csv or zip.
        challenge: "miga2023", "miga2025" or "ma52".
        ids, clips, split: the expected ids, as in `write`. Without ids and clips only the form of the file is checked,
            not whether it is complete.

    Returns:
        One row per clip: `clip_id`, and `label`, or the ranks of MA-52 under their names.

    Raises:
        MgkitError: the file cannot be read, or is not valid.
    """
    path = Path(path)
    spec = _challenge(challenge, path)
    rows, classes = _read(path, spec), load_classes(spec.dataset, None)
    if problems := _problems(rows, spec, classes, _expected(ids, clips, split, spec)):
        raise MgkitError(f"{path} is not valid: {'; '.join(problems)}.")
    columns = ["clip_id", *(spec.header[1:] if spec.dataset == "ma52" else ["label"])]
    body = rows[1:] if spec.header else rows
    return pd.DataFrame(
        [[row[0].removesuffix(spec.ending), *map(int, row[1:])] for row in body], columns=columns
    )


def read_ids(path: str | Path) -> list[str]:
    """Clip ids from a file: the first word of each line, for example of a sample submission or a list of videos.

    Words end at a comma or a space; a first line that begins with Id or vid is a header, and `.mp4` at the end of a
    name is dropped.
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
        raise MgkitError(f"{path} has no ids: one per line is expected.")
    return [word.removesuffix(".mp4") for word in words]


def _challenge(name: str, path: Path) -> Challenge:
    if name not in CHALLENGES:
        raise MgkitError(f"{name!r} is not a challenge: use {', '.join(CHALLENGES)}.")
    taken = CHALLENGES[name].suffixes
    if path.suffix.lower() not in taken:
        raise MgkitError(f"{path}: {name} takes {' or '.join(taken)}: give the file that suffix.")
    return CHALLENGES[name]


def _expected(
    ids: Sequence[str] | str | Path | None, clips: Clips | None, split: str, spec: Challenge
) -> list[str] | None:
    """The ids that the leaderboard expects, in its order; None if unknown."""
    if ids is not None:
        where = str(ids) if isinstance(ids, str | Path) else "ids"
        expected = read_ids(ids) if isinstance(ids, str | Path) else [str(name) for name in ids]
        if not expected:
            raise MgkitError("ids is empty: give at least one.")
        if repeated := _repeated(expected):
            raise MgkitError(f"{where}: {some(repeated)} repeated.")
    elif clips is not None:
        where = str(clips.root)
        there = clips.split(split)
        ids_there = [
            name
            for name, label in zip(there.ids, there.labels, strict=True)
            if label != clips.classes.background
        ]
        expected = sorted(ids_there, key=_by_number)
        # A clip that could not be prepared has no row; its split is that of the other clips of its video.
        others = {_video(name) for name in set(clips.ids) - set(there.ids)}
        left_out = sorted(
            entry["clip_id"] for entry in clips.report
            if entry["what"].startswith(LEFT_OUT) and _video(entry["clip_id"]) not in others
            and not background.IDS.fullmatch(entry["clip_id"])
        )  # fmt: skip
        if left_out:
            raise MgkitError(
                f"{where} was prepared without {some(left_out)}, which the leaderboard expects: fix them and prepare "
                "again, or pass ids= if it does not expect them."
            )
    else:
        return None
    if odd := [name for name in expected if not re.fullmatch(spec.pattern, name)]:
        raise MgkitError(
            f"{where}: {some(odd)} do not look like {spec.example}, the ids of this challenge: use the clips that "
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
            f"class {first} of the predictions is {ours[first]!r}, that of {challenge} {classes.names[first]!r}: bring "
            "them to the order of the challenge. Predictions whose `classes` is None are compared by number only."
        )


def _rows(scores: np.ndarray, ids: Sequence[str], spec: Challenge, classes: Classes) -> list[list[str]]:
    """The rows of the table; of classes with the same probability the lower one comes first."""
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
                        f"{path} is not valid: it holds {some(names) or 'nothing'}, but must hold {spec.member} alone, "
                        "without a folder."
                    )
                size, content = archive.getinfo(spec.member).file_size, b""
                if size <= _LARGEST:
                    content = archive.read(spec.member)
        else:
            size, content = path.stat().st_size, b""
            if size <= _LARGEST:
                content = path.read_bytes()
        if size > _LARGEST:
            raise MgkitError(f"{path} is not valid: it is far too large for a submission.")
        return list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except csv.Error as error:
        raise MgkitError(f"{path} is not valid: it is not a csv ({error}).") from None
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        UnicodeDecodeError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise MgkitError(f"{path} cannot be read ({error}).") from None


def _problems(
    rows: Sequence[Sequence[str]], spec: Challenge, classes: Classes, expected: Sequence[str] | None
) -> list[str]:
    """Everything that is wrong with the rows of a submission."""
    problems: list[str] = []
    if rows and rows[0] and rows[0][0].startswith("\ufeff"):
        problems.append("it begins with a byte-order mark")
        rows = [[rows[0][0][1:], *rows[0][1:]], *rows[1:]]
    if spec.header:
        first = tuple(rows[0]) if rows else ()
        if first != spec.header:
            problems.append(f"its header is {','.join(first)!r}, not {','.join(spec.header)!r}")
        # A first line with a number in it is not a header but a row, and counted as one.
        rows = rows if any(cell.strip().isdecimal() for cell in first[1:]) else rows[1:]
    width = len(spec.header) or 2
    if short := [i for i, row in enumerate(rows) if len(row) != width]:
        problems.append(
            f"row {short[0] + 1} has {counted(len(rows[short[0]]), 'cell')}, not {width} "
            f"({counted(len(short), 'such row')})"
        )
        rows = [row for row in rows if len(row) == width]
    if not rows:
        return [*problems, "it has no rows"]

    # The ids.
    if ended := [row[0] for row in rows if not row[0].endswith(spec.ending)]:
        problems.append(f"ids do not end in {spec.ending}: {some(ended)}")
    names = [row[0].removesuffix(spec.ending) for row in rows]
    if odd := [name for name in names if not re.fullmatch(spec.pattern, name)]:
        problems.append(f"ids do not look like {spec.example}: {some(map(repr, odd))}")
    if repeated := _repeated(names):
        problems.append(f"{counted(len(repeated), 'repeated id')}: {some(repeated)}")
    if expected is not None:
        found = _differences(names, expected, "no row of")
        problems += found
        if not found and len(names) == len(expected) and names != list(expected):
            i = next(i for i, (a, b) in enumerate(zip(names, expected, strict=True)) if a != b)
            problems.append(f"the ids are in another order: row {i + 1} is {names[i]}, not {expected[i]}")

    # The class numbers.
    columns = spec.header[1:] or ("label",)
    valid = True
    for j, column in enumerate(columns, start=1):
        limit = len(set(classes.groups or ())) if column.startswith("body") else len(classes)
        wrong = [
            f"{name} {row[j]!r}"
            for name, row in zip(names, rows, strict=True)
            if not (re.fullmatch(r"\d{1,4}", row[j], re.ASCII) and int(row[j]) < limit)
        ]
        if wrong:
            valid = False
            problems.append(
                f"{column} is not 0 to {limit - 1} in {counted(len(wrong), 'row')}: {some(wrong)}"
            )
    if spec.dataset == "ma52" and valid:
        # Bodies may be repeated: the organisers' own example repeats some.
        pairs = zip(names, rows, strict=True)
        if double := [name for name, row in pairs if len(set(map(int, row[1 : TOP + 1]))) < TOP]:
            problems.append(
                f"an action is repeated among the {TOP} of {counted(len(double), 'row')}: {some(double)}"
            )
    return problems


def _differences(names: Sequence[str], expected: Sequence[str], missing_is: str) -> list[str]:
    """Ids that are missing or not expected."""
    have, wanted = set(names), set(expected)
    problems = []
    if missing := [name for name in expected if name not in have]:
        problems.append(f"{missing_is} {len(missing)} of {len(expected)} expected ids ({some(missing)})")
    if extra := [name for name in dict.fromkeys(names) if name not in wanted]:
        problems.append(f"{counted(len(extra), 'id')} not expected ({some(sorted(extra))})")
    return problems


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _video(clip_id: str) -> str:
    return clip_id.rpartition("_")[0]


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts 0054_2 before 0054_10."""
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
