"""The command line: the same calls as in a notebook, for a shell or a cluster queue."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mgkit import __version__
from mgkit.errors import MgkitError

EXIT_USER_ERROR, EXIT_INTERRUPTED = 2, 130
READER_NAMES = ("imigue", "smg", "ma52", "pyskl", "folders")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, 2 for something the user can put right, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if (
            len(words) == 3
            and words[0] == "prepare"
            and words[1] in READER_NAMES
            and words[2] in ("-h", "--help")
        ):
            _reader_help(words[1])
            return 0
        options, rest = _parser().parse_known_args(words)
        if rest and options.command is not _prepare:
            _parser().error(f"unrecognized arguments: {' '.join(rest)}")
        options.rest = rest
        options.command(options)
    except MgkitError as error:
        print(f"mgkit: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("\nmgkit: interrupted. The same command goes on where this one stopped.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


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
    demo.set_defaults(command=_demo)

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
    prepare.set_defaults(command=_prepare)

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
    folds.set_defaults(command=_folds)

    train = commands.add_parser(
        "train", help="clip folder and recipe to run folder; resumes an unfinished one"
    )
    train.add_argument("clips", type=Path, help="clip folder, or a split table in it")
    train.add_argument("out", type=Path, help="run folder")
    train.add_argument(
        "--recipe",
        default="paper",
        help="paper, fusion, rgb-only, pose-only, pose-small, demo (default: %(default)s)",
    )
    train.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    train.add_argument("--train-split", default="train", help="(default: %(default)s)")
    train.add_argument(
        "--val-split", default="val", help='split to choose the best epoch on; "none" = the last epoch'
    )
    train.add_argument(
        "--start",
        action="append",
        default=[],
        metavar="PATHWAY=START",
        help="what to start from, for rgb, pose or all: a finished run (stands for that stage) or a file of weights",
    )
    train.add_argument(
        "--start-classes",
        choices=["new"],
        help="the classes of the files given to --start are other ones than those of the clips",
    )
    train.add_argument(
        "--start-joints",
        metavar="LAYOUT",
        help="joint layout of those files, e.g. coco17: joints are found by name",
    )
    train.add_argument(
        "--strategy", default="auto", help="auto or ddp: how processes work together (default: %(default)s)"
    )
    train.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=5.0,
        metavar="MINUTES",
        help="how much work an interruption may cost (default: %(default)s)",
    )
    train.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="WHERE",
        help="tensorboard or wandb: log the history there too",
    )
    _hardware(train)
    _processes(train)
    _changes(train)
    train.set_defaults(command=_train)

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
    _hardware(test)
    _processes(test)
    test.set_defaults(command=_test)

    ablation = commands.add_parser("ablation", help="train one part more a row, over seeds; print the table")
    ablation.add_argument("clips", type=Path, help="clip folder with train, val and test")
    ablation.add_argument("out", type=Path, help="folder of the runs: one a seed and row")
    ablation.add_argument("--seeds", type=int, default=5, help="0, 1, ... so many (default: %(default)s)")
    _hardware(ablation)
    _changes(ablation)
    ablation.set_defaults(command=_ablation)

    figures = commands.add_parser("figures", help="draw the figures of a tested run")
    figures.add_argument("run", type=Path, help="run folder")
    figures.add_argument("--split", default="test", help="(default: %(default)s)")
    figures.set_defaults(command=_figures)

    show = commands.add_parser("show", help="what a clip folder or a run folder holds")
    show.add_argument("folder", type=Path)
    show.add_argument("--check", action="store_true", help="read every file of a clip folder and compare it")
    show.add_argument(
        "--report", action="store_true", help="print every entry of the report, not the first few"
    )
    show.set_defaults(command=_show)
    return parser


def _changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the recipe, e.g. epochs=12",
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


def _print(text: str) -> None:
    """Print what a command found; of several processes the first one does."""
    from mgkit.models.distributed import rank

    if rank() == 0:
        print(text)


def _demo(options: Any) -> None:
    from mgkit import demo, recipes
    from mgkit.training.inference import test
    from mgkit.training.loop import train

    began = time.monotonic()
    _say(f"1/4 the embedded dataset: {options.data}")
    clips = demo.demo_clips(options.data)
    print(clips, file=sys.stderr)
    _say("2/4 training: RGB branch, pose branch, both with fusion and prototypes")
    changes = recipes.parse_changes(options.changes)
    run = train(clips, recipes.demo(**changes), options.out, seed=options.seed, device=options.device)
    _say("3/4 test")
    for part in (*(run.stage(name) for name in run.stages()), run):
        test(part, "test", clips=clips, device=options.device)
    _say("4/4 figures")
    from mgkit.views.figures import draw_figures

    draw_figures(run, clips, "test")
    print(f"\n{_results(run, 'test')}\n")
    print(f"run folder  {run.root}\nfigures     {run.figures}\nclip folder {clips.root}")
    print(f"notebooks   make lab\n{(time.monotonic() - began) / 60:.1f} minutes")


def _reader_help(name: str) -> None:
    from mgkit.data.reader_options import parse_options

    parse_options(name, ["--help"])


def _prepare(options: Any) -> None:
    from mgkit.data.prepare import prepare
    from mgkit.data.reader_options import parse_options

    clips = prepare(
        options.reader, options.source, options.out, size=options.size, workers=options.workers,
        strict=options.strict, tolerated=options.tolerated, **parse_options(options.reader, options.rest),
    )  # fmt: skip
    print(clips)
    _report(clips, options.report)


def _report(clips: Any, whole: bool = False) -> None:
    from mgkit.data.prepare import report_lines

    if whole:
        for entry in clips.report:
            print("\t".join((entry["what"], entry["clip_id"], entry["detail"])))
        return
    lines = list(report_lines(clips))
    print("nothing was odd" if not lines else "what was odd (how many): which")
    for line in lines:
        print(f"  {line}")


def _folds(options: Any) -> None:
    from mgkit.data.clips import load_clips

    folds = load_clips(options.folder).folds(
        options.k, group=None if options.group == "clip" else options.group, stratify=not options.plain,
        seed=options.seed, splits=options.splits.split(",") if options.splits else None, name=options.name,
    )  # fmt: skip
    print(folds.summary().to_string())
    for entry in folds.report:
        print(f"  {entry['what']}: {entry['detail']}")
    for fold in folds:
        print(fold.path)
    print(f"next: mgkit train {folds[0].path} RUN")


def _train(options: Any) -> None:
    from mgkit import recipes
    from mgkit.data.clips import load_clips
    from mgkit.training.loop import train

    if options.recipe not in recipes.RECIPES:
        raise MgkitError(f"there is no recipe {options.recipe!r}; there are {', '.join(recipes.RECIPES)}.")
    changes = recipes.parse_changes(options.changes)
    if options.recipe == "paper" and changes:
        options.recipe = "fusion"  # the paper's training with changes
    run = train(
        load_clips(options.clips), recipes.RECIPES[options.recipe](**changes), options.out, seed=options.seed,
        train_split=options.train_split, val_split=None if options.val_split == "none" else options.val_split,
        device=options.device, devices=options.devices, nodes=options.nodes, strategy=options.strategy,
        workers=options.workers, checkpoint_minutes=options.checkpoint_minutes, log=options.log,
        start=_start(options.start, options.start_classes, options.start_joints),
    )  # fmt: skip
    _print(f"run folder {run.root}; next: mgkit test {run.root}")


def _start(words: Sequence[str], classes: str | None, joints: str | None) -> dict[str, Any] | None:
    """What `--start` and its options say, as `train` takes it: runs as they are, files with what is to be adapted."""
    from mgkit.training.starts import Weights

    start: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not value:
            raise MgkitError(f"{word!r} is no start: write rgb=, pose= or all= and a run folder or a file.")
        file = Path(value).is_file()
        start[name] = Weights(value, classes, None if name == "rgb" else joints) if file else value
    if (classes or joints) and not any(isinstance(given, Weights) for given in start.values()):
        raise MgkitError(
            "--start-classes and --start-joints are about files of weights: give one with --start."
        )
    return start or None


def _test(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.runs import load_run
    from mgkit.training.inference import test

    run = load_run(options.run)
    clips = None if options.clips is None else load_clips(options.clips)
    weights = None if options.weights is None else dict(zip(("rgb", "pose"), options.weights, strict=True))
    run.checkpoint(options.checkpoint)  # an unfinished run is refused before any part of it is tested
    # The branches too: a fusion is worth its cost only if it beats the parts it was made of.
    for part in (*(run.stage(name) for name in run.stages()), run):
        test(
            part, options.split, clips=clips, views=options.views, flip=options.flip, checkpoint=options.checkpoint,
            weights=weights if part is run else None, rectification=options.rectification,
            device=options.device, devices=options.devices, nodes=options.nodes, workers=options.workers,
        )  # fmt: skip
    _print(_results(run, options.split))


def _ablation(options: Any) -> None:
    from mgkit import recipes
    from mgkit.ablation import ablation_markdown, ablation_recipes, run_ablation
    from mgkit.data.clips import load_clips

    if options.seeds < 1:
        raise MgkitError(f"--seeds is {options.seeds}: use 1 or more.")
    changes = recipes.parse_changes(options.changes)
    table = run_ablation(
        load_clips(options.clips), options.out, seeds=range(options.seeds), device=options.device,
        workers=options.workers,
        rows=ablation_recipes(recipes.demo(**changes) if changes else None),
    )  # fmt: skip
    print(ablation_markdown(table))


def _figures(options: Any) -> None:
    from mgkit.results.runs import load_run
    from mgkit.views.figures import draw_figures

    for path in draw_figures(load_run(options.run), split=options.split):
        print(path)


def _show(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.runs import load_run

    if (options.folder / "config.json").is_file():
        run = load_run(options.folder)
        print(run)
        for key, value in run.recipe.items():
            if key != "stages":
                print(f"  {key} = {value}")
        for split in run.splits():
            print(_results(run, split))
        return
    clips = load_clips(options.folder)
    print(clips)
    print(clips.summary())
    _report(clips, options.report)
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
            f"{len(files)} files of {clips.root} are damaged: {some(files)}. Delete them and run the same "
            "`mgkit prepare` again, it makes these anew."
        )
    print("every file is as it was written")


def _results(run: Any, split: str) -> str:
    """The table of results of a run and of its branches, in per cent."""
    import pandas as pd

    from mgkit.results.metrics import evaluate

    parts = {
        f"{name} branch alone": run.stage(name) for name in run.stages() if split in run.stage(name).splits()
    }
    table = evaluate(run, split)
    rows = {name: evaluate(stage, split).iloc[0] for name, stage in parts.items()}
    shown = {"rgb": "RGB", "pose": "pose"}
    joint = "two-pathway: " if len(run.pathways) > 1 else ""
    names = {key: f"{joint}{text}" for key, text in {**shown, "fused": "fused"}.items()} | {
        "majority": "always the majority"
    }
    table.index = pd.Index([names.get(str(name), str(name)) for name in table.index])
    table = pd.concat([pd.DataFrame(rows).T, table]) if rows else table
    percent = table[["top1", "top1_low", "top1_high", "macro_f1", "mean_class_accuracy"]].astype(float) * 100
    percent.columns = pd.Index(["Top-1", "95 % from", "to", "macro-F1", "mean class acc."])
    count = int(table["clips"].iloc[0])
    return f"{split}: {count} clips, per cent\n{percent.to_string(float_format=lambda v: f'{v:.1f}', na_rep='-')}"


def _say(line: str) -> None:
    print(f"\n== {line}", file=sys.stderr, flush=True)
