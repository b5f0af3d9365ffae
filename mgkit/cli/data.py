"""Commands on clips: prepare, folds, show, doctor.

Each command is its parser and, below it, its function; heavy libraries are imported inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mgkit.cli.options import (
    Commands,
    results,
)
from mgkit.errors import MgkitError, command, counted

READER_NAMES = ("imigue", "smg", "ma52", "pyskl", "folders", "segments")
EXIT_BROKEN = 1


def add_commands(commands: Commands) -> None:
    """Add these commands to the command line."""
    _add_prepare(commands)
    _add_folds(commands)
    _add_show(commands)
    _add_doctor(commands)


def _add_prepare(commands: Commands) -> None:
    parser = commands.add_parser(
        "prepare",
        help="make a clip folder from a raw dataset; resumes",
        epilog="Each reader has its own options: mgkit prepare READER --help",
        allow_abbrev=False,
    )
    parser.add_argument("reader", help=f"layout of the source: {', '.join(READER_NAMES)}")
    parser.add_argument("source", type=Path, help="the dataset: a folder; for pyskl the pickle")
    parser.add_argument("out", type=Path, help="the clip folder to make, resume or update")
    parser.add_argument(
        "--size", type=int, default=256, help="side of the prepared videos (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument(
        "--strict", action="store_true", help="refuse the whole folder if one clip cannot be made"
    )
    parser.add_argument(
        "--tolerated",
        type=float,
        default=0.05,
        help="share of the clips that may be left out before the whole folder is refused (default: %(default)s)",
    )
    points = parser.add_argument_group("key-points that are not pixels of the frame, one pose per frame")
    points.add_argument(
        "--pose-units",
        choices=["pixels", "shares", "centred", "percent"],
        help="shares of the frame: 0 to 1, -1 to 1, 0 to 100; pixels takes them unchecked (default: pixels, checked)",
    )
    points.add_argument(
        "--pose-size",
        metavar="1280x720",
        help="width x height of the picture that they refer to, scaled to the video; stated: as the file says",
    )
    points.add_argument(
        "--pose-fps", type=float, metavar="RATE", help="poses per second: resampled to the video"
    )
    points.add_argument(
        "--pose-step", type=float, metavar="N",
        help="frames of the video from one pose to the next: resampled; 1 cuts to the shortest instead",
    )  # fmt: skip
    points.add_argument(
        "--poses", type=Path, metavar="FOLDER", help="key-points of `mgkit pose`, for a dataset of videos"
    )
    points.add_argument(
        "--smooth",
        choices=["savgol7", "none"],
        help="over seven poses, without delay (default: savgol7 for --poses, which are as estimated, else none)",
    )
    parser.add_argument("--report", action="store_true", help="print the whole report, not its first entries")
    parser.set_defaults(command=prepare)


def prepare(options: Any) -> None:
    from mgkit.data.prepare.folder import prepare
    from mgkit.data.readers.options import parse_options

    clips = prepare(
        options.reader, options.source, options.out, size=options.size, workers=options.workers,
        strict=options.strict, tolerated=options.tolerated, pose_fps=options.pose_fps, pose_step=options.pose_step,
        pose_units=options.pose_units, pose_size=options.pose_size, poses=options.poses, smooth=options.smooth,
        **parse_options(options.reader, options.rest),
    )  # fmt: skip
    print(clips)
    print_report(clips.report, options.report)


def print_report(report: list[dict[str, str]], whole: bool = False, of: str = "clips") -> None:
    """Print what was odd: all of it, or the first of each kind."""
    from mgkit.data.report import report_lines

    if whole:
        for entry in report:
            print("\t".join((entry["what"], entry["clip_id"], entry["detail"])))
        return
    lines = list(report_lines(report))
    print("nothing odd" if not lines else f"odd (count): {of}")
    for line in lines:
        print(f"  {line}")


def _add_folds(commands: Commands) -> None:
    parser = commands.add_parser("folds", help="k-fold splits of a clip folder, by subject or video")
    parser.add_argument("folder", type=Path, help="clip folder")
    parser.add_argument("k", type=int, help="number of folds")
    parser.add_argument(
        "--group",
        default="subject",
        choices=["subject", "source", "clip"],
        help="clips of one subject, source video or clip stay in one split (default: %(default)s)",
    )
    parser.add_argument("--splits", help="comma-separated splits to pool (default: all but test splits)")
    parser.add_argument("--plain", action="store_true", help="do not stratify by class")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--name", help="prefix of the names of the split tables")
    parser.set_defaults(command=folds)


def folds(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.run.folder import run_folder

    folds = load_clips(options.folder).folds(
        options.k, group=options.group, stratify=not options.plain,
        seed=options.seed, splits=options.splits.split(",") if options.splits else None, name=options.name,
    )  # fmt: skip
    print(folds.summary().to_string())
    for entry in folds.report:
        print(f"  {entry['what']}: {entry['detail']}")
    for fold in folds:
        print(fold.path)
    # Nothing is chosen on the clips that the fold is tested on.
    print(f"next: {command('train', folds[0].path, run_folder(folds[0]), '--set', 'keep=last')}")


def _add_show(commands: Commands) -> None:
    parser = commands.add_parser("show", help="contents of a clip folder, a run folder or a study")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="verify every file of a clip folder")
    parser.add_argument("--report", action="store_true", help="print the whole report, not its first entries")
    parser.set_defaults(command=show)


def show(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.run.folder import load_run
    from mgkit.settings import flat
    from mgkit.studies import FILE, Study

    if (options.folder / "config.json").is_file():
        run = load_run(options.folder)
        print(run)
        for key, value in flat(run.recipe).items():
            if key != "stages":
                print(f"  {key} = {value}")
        for split in run.splits():
            print(results(run, split))
        return
    if (options.folder / FILE).is_file():
        print(Study.open(options.folder).text())
        return
    clips = load_clips(options.folder)
    print(clips)
    print(clips.summary())
    print_report(clips.report, options.report)
    if options.check:
        _check(clips)


def _check(clips: Any) -> None:
    from mgkit.errors import some
    from mgkit.progress import Progress

    with Progress("check") as bar:
        files = clips.damaged(tick=lambda done, total: bar.advance(1, total))
    for file, problem in files.items():
        print(f"  {file} {problem}")
    if files:
        raise MgkitError(
            f"{clips.root} has {counted(len(files), 'damaged file')}: {some(files)}; delete what is damaged and run "
            "the same `mgkit prepare` again, which makes them."
        )
    print("all files are intact")


def _add_doctor(commands: Commands) -> None:
    parser = commands.add_parser(
        "doctor", help="check this machine: versions, GPU, memory, disk, video, widgets"
    )
    parser.set_defaults(command=doctor)


def doctor(options: Any) -> int:
    from mgkit.checkup import doctor

    report = doctor()
    print(report)
    return 0 if report.ok else EXIT_BROKEN


def reader_help(name: str) -> None:
    from mgkit.data.readers.options import parse_options

    parse_options(name, ["--help"])
