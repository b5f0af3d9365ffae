"""The command line: the same calls as in a notebook, for a shell or a cluster queue."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from mgkit import __version__
from mgkit.cli import commands as does
from mgkit.errors import MgkitError
from mgkit.training.options import Options
from mgkit.training.recipes import RECIPES

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130
RUN_CODE = (
    "allow code in the run folder (code/) that is neither mgkit's nor was trained on this machine to be run"
)
READER_NAMES = ("imigue", "smg", "ma52", "pyskl", "folders")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, 1 where `doctor` finds something broken, 2 for something the user
    can put right, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if (
            len(words) == 3
            and words[0] == "prepare"
            and words[1] in READER_NAMES
            and words[2] in ("-h", "--help")
        ):
            does.reader_help(words[1])
            return 0
        options, rest = _parser().parse_known_args(words)
        if rest and options.command is not does.prepare:
            _parser().error(f"unrecognized arguments: {' '.join(rest)}")
        options.rest = rest
        status: int | None = options.command(options)
    except MgkitError as error:
        print(f"mgkit: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("\nmgkit: interrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mgkit", description="An interactive kit for micro-gesture classification."
    )
    parser.add_argument("--version", action="version", version=f"mgkit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="make the embedded dataset, train on it, test, draw figures")
    demo.add_argument(
        "--data", type=Path, default=Path("data/demo"), help="clip folder (default: %(default)s)"
    )
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    demo.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    _changes(demo)
    demo.set_defaults(command=does.demo)

    prepare = commands.add_parser(
        "prepare",
        help="raw dataset to clip folder; goes on with an unfinished one",
        epilog="Each reader has options of its own: mgkit prepare READER --help",
        allow_abbrev=False,
    )
    prepare.add_argument("reader", help=f"layout of the source: {', '.join(READER_NAMES)}")
    prepare.add_argument("source", type=Path, help="the dataset: a folder; for pyskl the pickle")
    prepare.add_argument(
        "out", type=Path, help="the clip folder to make, to go on with, or to bring up to date"
    )
    prepare.add_argument(
        "--size", type=int, default=256, help="side of the prepared videos (default: %(default)s)"
    )
    prepare.add_argument("--workers", type=int, help="processes (default: one per core)")
    prepare.add_argument("--strict", action="store_true", help="refuse as soon as one clip cannot be made")
    prepare.add_argument(
        "--tolerated",
        type=float,
        default=0.05,
        help="share of the clips that may be left out before all is refused (default: %(default)s)",
    )
    prepare.add_argument(
        "--report", action="store_true", help="print every entry of the report, not the first few"
    )
    prepare.set_defaults(command=does.prepare)

    folds = commands.add_parser("folds", help="k-fold splits of a clip folder, by subject or video")
    folds.add_argument("folder", type=Path, help="clip folder")
    folds.add_argument("k", type=int, help="how many folds")
    folds.add_argument(
        "--group",
        default="subject",
        choices=["subject", "source", "clip"],
        help="what stays on one side (default: %(default)s)",
    )
    folds.add_argument("--splits", help="splits that are pooled, with commas between (default: all but test)")
    folds.add_argument("--plain", action="store_true", help="do not spread the classes evenly over the folds")
    folds.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    folds.add_argument("--name", help="begin of the names of the split tables")
    folds.set_defaults(command=does.folds)

    train = commands.add_parser(
        "train", help="clip folder and recipe to run folder; resumes an unfinished one"
    )
    _training(train)
    train.set_defaults(command=does.train)

    launch = commands.add_parser("launch", help="as train, in a process of its own that outlives the shell")
    _training(launch)
    launch.set_defaults(command=does.launch)

    stop = commands.add_parser("stop", help="end a launched training so that it can be resumed")
    stop.add_argument("run", type=Path, help="run folder")
    stop.add_argument(
        "--hard", action="store_true", help="kill it; what came after the last checkpoint is lost"
    )
    stop.set_defaults(command=does.stop)

    resume = commands.add_parser("resume", help="start a launched training again, where it stopped")
    resume.add_argument("run", type=Path, help="run folder")
    resume.set_defaults(command=does.resume)

    status = commands.add_parser("status", help="how a training is, and the end of its log")
    status.add_argument("run", type=Path, help="run folder")
    status.set_defaults(command=does.show_status)

    test = commands.add_parser("test", help="test a run on a split; writes predictions and embeddings")
    test.add_argument("run", type=Path, help="run folder")
    test.add_argument("--split", default="test", help="(default: %(default)s)")
    test.add_argument("--clips", type=Path, help="clip folder (default: the one it was trained on)")
    test.add_argument(
        "--views", type=int, default=1, help="clips a video; the paper uses 10 (default: %(default)s)"
    )
    test.add_argument("--flip", action="store_true", help="test the mirrored twin of each view too")
    test.add_argument(
        "--weights", type=float, nargs=2, metavar=("RGB", "POSE"), help="of the pathways' mean (default: 1 1)"
    )
    test.add_argument(
        "--rectification",
        type=float,
        default=0.0,
        metavar="LAMBDA",
        help="add LAMBDA times the similarity to each prototype to the logits (default: 0, off)",
    )
    test.add_argument("--checkpoint", default="best", help="best or last (default: %(default)s)")
    test.add_argument("--run-code", action="store_true", help=RUN_CODE)
    _hardware(test)
    _processes(test)
    test.set_defaults(command=does.test)

    explain = commands.add_parser(
        "explain",
        help="where in time and on the body a run's decisions come from; goes on with an unfinished one",
    )
    explain.add_argument("run", type=Path, help="run folder")
    explain.add_argument("--split", default="test", help="(default: %(default)s)")
    explain.add_argument("--clips", type=Path, help="clip folder (default: the one it was trained on)")
    explain.add_argument(
        "--clip", action="append", metavar="ID", help="only this clip of the split; repeatable"
    )
    explain.add_argument(
        "--target", default="predicted", help="class to explain: predicted or true (default: %(default)s)"
    )
    explain.add_argument("--output", help="rgb, pose or fused (default: fused, or the only one)")
    explain.add_argument("--checkpoint", default="best", help="best or last (default: %(default)s)")
    explain.add_argument("--replace", action="store_true", help="make anew what was made with other settings")
    explain.add_argument("--run-code", action="store_true", help=RUN_CODE)
    _hardware(explain)
    explain.set_defaults(command=does.explain)

    study = commands.add_parser(
        "study", help="train several recipes over seeds or folds and compare them; resumes"
    )
    study.add_argument("clips", type=Path, help="clip folder")
    study.add_argument("out", type=Path, help="folder of the study: one run folder per row and seed")
    study.add_argument(
        "--row",
        action="append",
        default=[],
        metavar="NAME=RECIPE",
        help="a row: a recipe as for `mgkit train`; repeatable",
    )
    study.add_argument(
        "--ablation",
        action="store_true",
        help="the rows that switch on one part of the paper's method after the other",
    )
    study.add_argument(
        "--narrow", action="store_true", help="make systems of one pathway small enough for two CPU cores"
    )
    study.add_argument(
        "--seeds", type=int, default=5, help="number of seeds, starting at 0 (default: %(default)s)"
    )
    study.add_argument(
        "--folds", type=int, metavar="K", help="cross-validation by subject instead of one split"
    )
    study.add_argument("--split", default="test", help="split to compare on (default: %(default)s)")
    study.add_argument(
        "--val-split", default="val", help='split to choose the best epoch on; "none" = the last epoch'
    )
    study.add_argument(
        "--against",
        default="first",
        metavar="ROW",
        help="gains on this row, or the row above (default: %(default)s)",
    )
    _hardware(study)
    _changes(study)
    study.set_defaults(command=does.study)

    compare = commands.add_parser(
        "compare", help="runs in one table: settings that differ, results, significance"
    )
    compare.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="run folder; the first is the baseline"
    )
    compare.add_argument("--split", default="test", help="(default: %(default)s)")
    compare.add_argument("--output", help="rgb, pose or fused (default: the best that each run has)")
    compare.add_argument("--baseline", help="another of the runs: its folder or its name in the table")
    compare.add_argument("--common", action="store_true", help="compare on the clips that all runs have")
    compare.add_argument("--seeds", action="store_true", help="one row for runs that differ in the seed only")
    form = compare.add_mutually_exclusive_group()
    for name, what in (
        ("csv", "all columns as CSV"),
        ("markdown", "Markdown"),
        ("latex", "LaTeX (booktabs)"),
    ):
        form.add_argument(
            f"--{name}", dest="form", action="store_const", const=name, help=f"print it as {what}"
        )
    compare.set_defaults(command=does.compare)

    ensemble = commands.add_parser("ensemble", help="fuse runs or score files; what each member adds")
    ensemble.add_argument(
        "members", type=Path, nargs="+", metavar="RUN", help="run folder, or score file with clip ids"
    )
    ensemble.add_argument("--split", default="test", help="(default: %(default)s)")
    how = ensemble.add_mutually_exclusive_group()
    how.add_argument("--weights", metavar="W,W,...", help="of the members, in their order (default: equal)")
    how.add_argument("--search", metavar="SPLIT", help="search the weights on this validation split")
    ensemble.add_argument(
        "--method", default="grid", choices=["grid", "convex"], help="of the search (default: %(default)s)"
    )
    ensemble.add_argument(
        "--metric",
        default="top1",
        choices=["top1", "macro_f1", "log_loss"],
        help="of a grid (default: %(default)s)",
    )
    ensemble.add_argument("--step", type=float, default=0.05, help="of a grid (default: %(default)s)")
    ensemble.add_argument("--output", help="rgb, pose or fused (default: the best that each has)")
    ensemble.add_argument("--common", action="store_true", help="fuse on the clips that all members have")
    ensemble.add_argument("--out", type=Path, metavar="FOLDER", help="write the fusion as a run folder")
    ensemble.set_defaults(command=does.ensemble)

    scores = commands.add_parser("scores", help="write the scores of a run as a file for other tools")
    scores.add_argument("run", type=Path, help="run folder")
    scores.add_argument("--split", default="test", help="(default: %(default)s)")
    scores.add_argument("--output", help="rgb, pose or fused (default: fused, or the only one)")
    scores.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="to write: .parquet, .npz, .csv or .pkl"
    )
    scores.add_argument(
        "--layout", choices=["pyskl", "mmaction2"], help="of a .pkl; pyskl has no ids, only an order"
    )
    scores.add_argument(
        "--annotations", type=Path, metavar="PKL", help="PYSKL annotation file whose order a .pkl is to have"
    )
    scores.set_defaults(command=does.scores)

    submit = commands.add_parser("submit", help="write a run's answers as a leaderboard takes them, if valid")
    submit.add_argument("run", type=Path, help="run folder, tested on the split")
    submit.add_argument(
        "--challenge", default="miga2025", help="miga2023, miga2025 or ma52 (default: %(default)s)"
    )
    submit.add_argument("--out", type=Path, required=True, metavar="FILE", help="the csv or zip to write")
    submit.add_argument("--split", default="test", help="(default: %(default)s)")
    submit.add_argument("--output", help="rgb, pose or fused (default: fused, or the only one)")
    submit.add_argument("--clips", type=Path, help="clip folder (default: the one it was trained on)")
    submit.add_argument(
        "--ids", type=Path, metavar="FILE", help="the ids expected, one a line (default: those of the split)"
    )
    submit.set_defaults(command=does.submit)

    figures = commands.add_parser("figures", help="draw the figures of a tested run")
    figures.add_argument("run", type=Path, help="run folder")
    figures.add_argument("--split", default="test", help="(default: %(default)s)")
    figures.set_defaults(command=does.figures)

    review = commands.add_parser("review", help="the review notes of a run; clips to train on next")
    review.add_argument("run", type=Path, help="run folder")
    review.add_argument("--csv", type=Path, metavar="FILE", help="write the notes there, too")
    review.add_argument("--apply", action="store_true", help="write the split table for the next training")
    review.add_argument(
        "--exclude", default="label wrong", help="tags, with commas between (default: %(default)s)"
    )
    review.add_argument("--keep-labels", action="store_true", help="do not take the proposed classes")
    review.add_argument("--splits", help="apply notes on these, with commas between (default: all but test)")
    review.add_argument("--clips", type=Path, help="clip folder (default: the one it was trained on)")
    review.add_argument("--name", help="of the split table")
    review.set_defaults(command=does.review)

    show = commands.add_parser("show", help="contents of a clip folder, a run folder or a study")
    show.add_argument("folder", type=Path)
    show.add_argument("--check", action="store_true", help="read every file of a clip folder and compare it")
    show.add_argument(
        "--report", action="store_true", help="print every entry of the report, not the first few"
    )
    show.set_defaults(command=does.show)

    doctor = commands.add_parser(
        "doctor", help="check this machine: versions, GPU, memory, disk, video, widgets"
    )
    doctor.set_defaults(command=does.doctor)
    return parser


def _training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", type=Path, help="clip folder, or a split table in it")
    parser.add_argument("out", type=Path, help="run folder")
    parser.add_argument(
        "--recipe",
        default="paper",
        metavar="NAME",
        help=f"{', '.join(RECIPES)}, or FILE.py:FUNCTION that makes one (default: %(default)s)",
    )
    parser.add_argument(
        "--network",
        metavar="FILE.py:NAME",
        help="train your own network instead, on key-points unless --set reads=... says otherwise",
    )
    parser.add_argument(
        "--narrow",
        action="store_true",
        help="the same system made small enough for two CPU cores, to try things out (one pathway)",
    )
    parser.add_argument(
        "--recipe-file",
        type=Path,
        metavar="JSON",
        help="a whole recipe, as in the recipe.json of a launched run",
    )
    parser.add_argument(
        "--start",
        action="append",
        default=[],
        metavar="PATHWAY=START",
        help="what to start from, for rgb, pose or all: a finished run (stands for that stage) or a file of weights",
    )
    parser.add_argument(
        "--start-classes",
        choices=["new"],
        help="the classes of the files given to --start are other ones than those of the clips",
    )
    parser.add_argument(
        "--start-joints",
        metavar="LAYOUT",
        help="joint layout of those files, e.g. coco17: joints are found by name",
    )
    for one in fields(Options):
        _option(parser, one)
    parser.add_argument("--run-code", action="store_true", help=RUN_CODE)
    _changes(parser)


def _option(parser: argparse.ArgumentParser, one: Field[Any]) -> None:
    """A flag for one of the options of a training; what it is comes from `Options`."""
    kind, flag = one.metadata["kind"], f"--{one.name.replace('_', '-')}"
    text = one.metadata["text"].replace("%", "%%")
    if one.name == "progress":  # a shell has it, and its log one line per minute
        return
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=text)
    elif kind is tuple:
        parser.add_argument(flag, action="append", default=[], metavar="WHERE", help=f"{text}; repeatable")
    else:
        known = "" if one.default is None else " (default: %(default)s)"
        parser.add_argument(flag, type=kind, default=one.default, help=text + known)


def _changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the recipe, e.g. epochs=12, or stream=bone of a skeleton network",
    )


def _hardware(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="loader processes (default: by the number of cores)")


def _processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--devices",
        type=int,
        help="processes on this machine, each with a GPU (default: those of torchrun or srun, else 1)",
    )
    parser.add_argument("--nodes", type=int, help="machines (default: those of torchrun or srun, else 1)")
