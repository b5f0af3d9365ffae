"""Commands that train: demo, train, pretrain, launch, stop, resume, status, study.

Each command is its parser and, below it, its function; heavy libraries are imported inside.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from mgkit.cli.options import (
    RUN_CODE,
    Commands,
    add_changes,
    add_hardware,
    print_once,
    results,
    test_command,
)
from mgkit.errors import MgkitError, command
from mgkit.training.options import Options


def add_commands(commands: Commands) -> None:
    """Add these commands to the command line."""
    _add_demo(commands)
    _add_baseline(commands)
    _add_train(commands)
    _add_pretrain(commands)
    _add_launch(commands)
    _add_stop(commands)
    _add_resume(commands)
    _add_show_status(commands)
    _add_study(commands)


def _add_demo(commands: Commands) -> None:
    parser = commands.add_parser("demo", help="make the embedded dataset, train, test and draw figures")
    parser.add_argument(
        "--data", type=Path, default=Path("data/demo"), help="clip folder (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="run folder (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    add_changes(parser)
    parser.set_defaults(command=demo)


def demo(options: Any) -> None:
    from mgkit import baselines, recipes
    from mgkit.demo import open as demo
    from mgkit.training.inference import test
    from mgkit.training.loop import train

    began = time.monotonic()
    _step(f"1/4 the embedded dataset: {options.data}")
    clips = demo.demo_clips(options.data)
    print(clips, file=sys.stderr)
    _step("2/4 training: RGB branch, pose branch, both with fusion and prototypes")
    changes = recipes.parse_changes(options.changes)
    run = train(clips, recipes.demo(**changes), options.out, seed=options.seed, device=options.device)
    _step("3/4 test")
    for part in (*(run.stage(name) for name in run.stages()), run):
        test(part, "test", clips=clips, device=options.device)
    floor = baselines.extra_trees(
        clips, options.out.with_name(f"{options.out.name}-extra_trees"), seed=options.seed
    )
    _step("4/4 figures")
    from mgkit.views.figures import draw_figures

    draw_figures(run, clips, "test")
    print(f"\n{results(run, 'test', floor)}\n")
    print(f"run folder  {run.root}\nfigures     {run.figures}\nclip folder {clips.root}")
    print(f"notebooks   make lab\n{(time.monotonic() - began) / 60:.1f} minutes")


def _add_baseline(commands: Commands) -> None:
    parser = commands.add_parser(
        "baseline",
        help="train extra trees on key-points, the floor that a network has to beat (under a minute)",
    )
    parser.add_argument("clips", type=Path, help="clip folder, or a split table in it")
    parser.add_argument("out", type=Path, nargs="?", help="run folder (default: beside the data)")
    parser.add_argument("--train-split", default="train", help="to train on (default: %(default)s)")
    parser.add_argument("--trees", type=int, default=500, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the trees (default: %(default)s)")
    parser.set_defaults(command=baseline)


def baseline(options: Any) -> None:
    from mgkit.baselines import extra_trees
    from mgkit.data.clips import load_clips
    from mgkit.results.run.folder import run_folder

    clips = load_clips(options.clips)
    run = extra_trees(
        clips,
        options.out,
        train_split=options.train_split,
        trees=options.trees,
        seed=options.seed,
    )
    for split in run.splits():
        print(f"{results(run, split)}\n")
    print(f"run folder {run.root}\nnext: {command('train', clips.path, run_folder(clips))}")


def _add_train(commands: Commands) -> None:
    parser = commands.add_parser(
        "train", help="train a recipe on a clip folder into a run folder; resumes", late=_training
    )
    parser.set_defaults(command=train)


def train(options: Any) -> None:
    with _stoppable():
        from mgkit.data.clips import load_clips
        from mgkit.training.loop import train

        run = train(load_clips(options.clips), _recipe(options), options.out, **_given(options))
    print_once(f"run folder {run.root}\nnext: {test_command(run)}")


def _add_pretrain(commands: Commands) -> None:
    parser = commands.add_parser(
        "pretrain",
        help="train a recipe's network to predict hidden parts of clips, without labels; resumes",
        late=_training,
    )
    parser.add_argument(
        "--splits",
        metavar="NAMES",
        help="splits to learn from, comma-separated (default: all but test and validation splits)",
    )
    parser.set_defaults(command=pretrain)


def pretrain(options: Any) -> None:
    given = _given(options)
    if given.pop("train_split") != "train" or given.pop("val_split") != "val":
        raise MgkitError("pre-training has no validation, and takes --splits instead of --train-split.")
    with _stoppable():
        from mgkit.data.clips import load_clips
        from mgkit.training.pretrain import pretrain

        splits = options.splits.split(",") if options.splits else None
        run = pretrain(load_clips(options.clips), _recipe(options), options.out, splits=splits, **given)
    start = command("train", options.clips, "OUT", "--start", f"{run.pathways[0]}={run.root}")
    print_once(f"run folder {run.root}\nnext, with the same recipe: {start}")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Hear Ctrl-C and SIGTERM until the block has ended: also while libraries are imported and videos looked at, and
    between two stages.

    Who starts a process in the background may have it ignore Ctrl-C, and `start_job` holds it back; a queue says
    SIGTERM.
    """
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        if hasattr(signal, "pthread_sigmask"):  # not on Windows
            signal.pthread_sigmask(signal.SIG_UNBLOCK, before)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _training(parser: argparse.ArgumentParser) -> None:
    from mgkit.training.recipes import RECIPES  # and with them pandas and NumPy

    parser.add_argument("clips", type=Path, help="clip folder, or a split table in it")
    parser.add_argument("out", type=Path, help="run folder")
    parser.add_argument(
        "--recipe",
        default="paper",
        metavar="NAME",
        help=f"{', '.join(RECIPES)}, or FILE.py:NAME of your own; NAME.rgb or NAME.pose is a branch of it alone, such "
        "as demo.rgb (default: %(default)s)",
    )
    parser.add_argument(
        "--network",
        metavar="FILE.py:NAME",
        help="train your own network, on key-points unless --set reads=... changes that",
    )
    parser.add_argument(
        "--narrow",
        action="store_true",
        help="make a system of one pathway small enough for two CPU cores, to try it out; what --set gives stays",
    )
    parser.add_argument(
        "--recipe-file",
        type=Path,
        metavar="JSON",
        help="a complete recipe, such as the recipe.json of a launched run",
    )
    parser.add_argument(
        "--start",
        action="append",
        default=[],
        metavar="PATHWAY=START",
        help="start rgb, pose or all from a finished run (in place of that stage), a file of weights, or published "
        "ones by name: imagenet, kinetics",
    )
    parser.add_argument(
        "--start-classes",
        choices=["new"],
        help="the weights of --start have other classes than the clips",
    )
    parser.add_argument(
        "--start-joints",
        metavar="LAYOUT",
        help="joint layout of those weights, e.g. coco17: joints are matched by name",
    )
    for one in fields(Options):
        _option(parser, one)
    parser.add_argument("--run-code", action="store_true", help=RUN_CODE)
    add_changes(parser)


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


def _recipe(options: Any) -> Any:
    from mgkit import recipes
    from mgkit.parts import part
    from mgkit.training.launch import read_recipe
    from mgkit.training.recipe import Recipe

    changes = recipes.parse_changes(options.changes)
    if options.recipe_file is not None:
        if changes or options.narrow or options.network:
            raise MgkitError(
                "--set, --narrow and --network change a named recipe: write the change into the file of --recipe-file."
            )
        return read_recipe(options.recipe_file, run_code=options.run_code)
    if options.network:
        return Recipe(part(options.network), reads=changes.pop("reads", ("keypoints",)), **changes)
    recipe = _named_recipe(options.recipe, changes)
    return recipes.narrow(recipe, **changes) if options.narrow else recipe.with_(**changes)


def _named_recipe(name: str, changes: dict[str, Any]) -> Any:
    """A recipe of the table, or FILE.py:NAME; takes the changes out that it cannot be made without."""
    from mgkit import recipes
    from mgkit.parts import load_target
    from mgkit.training.recipe import Recipe

    # A branch alone, trained as before the merge: "demo.rgb".
    whole, _, pathway = name.rpartition(".")
    if pathway in ("rgb", "pose") and whole:
        recipe = _named_recipe(whole, changes)
        stages = {stage.name: stage for stage in recipe.stages}
        return stages[pathway] if pathway in stages else recipes.branch(recipe, pathway)
    # One recipe cannot be made without where its vectors come from.
    needed = {"vectors": changes.pop("vectors")} if "vectors" in changes else {}
    if name in recipes.RECIPES:
        return recipes.RECIPES[name](**needed)
    if ":" not in name:
        raise MgkitError(
            f"there is no recipe {name!r}; there are {', '.join(recipes.RECIPES)}, FILE.py:NAME, and a branch of a "
            "two-pathway one alone, such as demo.rgb."
        )
    found = load_target(name)
    recipe = found if isinstance(found, Recipe) else found(**needed)
    if not isinstance(recipe, Recipe):
        raise MgkitError(f"{name} is a {type(recipe).__name__}, not a recipe.")
    return recipe


def _given(options: Any) -> dict[str, Any]:
    from dataclasses import fields

    from mgkit.training.options import Options

    given = {one.name: getattr(options, one.name) for one in fields(Options) if one.name != "progress"}
    given["val_split"] = None if options.val_split == "none" else options.val_split
    return {**given, "start": _start(options.start, options.start_classes, options.start_joints)}


def _start(words: Sequence[str], classes: str | None, joints: str | None) -> dict[str, Any] | None:
    """What `--start` and its options say, as `train` takes it: runs as they are, files with what is to be adapted."""
    from mgkit.models.weights.known import KNOWN
    from mgkit.training.start import Weights

    start: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not value:
            raise MgkitError(
                f"{word!r} is not a valid --start: write rgb=, pose= or all= and a run folder, a file, or the name of "
                f"published weights ({', '.join(KNOWN)})."
            )
        file = Path(value).is_file()
        if not file and not Path(value).exists() and value not in KNOWN:
            raise MgkitError(
                f"--start {word}: {value} does not exist, and is none of the published weights known by name "
                f"({', '.join(KNOWN)})."
            )
        start[name] = Weights(value, classes, None if name == "rgb" else joints) if file else value
    if (classes or joints) and not any(isinstance(given, Weights) for given in start.values()):
        raise MgkitError("--start-classes and --start-joints need a file of weights in --start.")
    return start or None


def _add_launch(commands: Commands) -> None:
    parser = commands.add_parser(
        "launch", help="as train, in a separate process that survives the shell", late=_training
    )
    parser.set_defaults(command=launch)


def launch(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.training.launch import launch

    job = launch(load_clips(options.clips), _recipe(options), options.out, **_given(options))
    print(f"launched {job.root}\nnext: {command('status', job.root)}\n      {command('stop', job.root)}")


def _add_stop(commands: Commands) -> None:
    parser = commands.add_parser("stop", help="stop a launched training so that it can be resumed")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument(
        "--hard", action="store_true", help="kill it; progress since the last checkpoint is lost"
    )
    parser.set_defaults(command=stop)


def stop(options: Any) -> None:
    from mgkit.results.run.jobs import attach

    state = attach(options.run).stop(hard=options.hard)
    print(f"{options.run}: {state.name}\nnext: {command('resume', options.run)}")


def _add_resume(commands: Commands) -> None:
    parser = commands.add_parser("resume", help="resume a launched training")
    parser.add_argument("run", type=Path, help="run folder")
    parser.set_defaults(command=resume)


def resume(options: Any) -> None:
    from mgkit.results.run.jobs import attach

    job = attach(options.run).resume()
    print(f"resumed {job.root}\nnext: {command('status', job.root)}\n      {command('stop', job.root)}")


def _add_show_status(commands: Commands) -> None:
    parser = commands.add_parser("status", help="state of a training, and the end of its log")
    parser.add_argument("run", type=Path, help="run folder")
    parser.set_defaults(command=show_status)


def show_status(options: Any) -> None:
    from mgkit.results.run.folder import load_run
    from mgkit.results.run.jobs import attach
    from mgkit.training.epoch import brief

    job = attach(options.run)
    print(job)
    said = load_run(job.root).live() if (job.root / "config.json").is_file() else {}
    if said and job.state == "running":
        at = f"{said['stage']} {said['epoch']}/{said['epochs']}, step {said['step']} of {said['steps']}"
        print(f"{at} | {brief(said)}")
    if text := job.log():
        print(text)


def _add_study(commands: Commands) -> None:
    parser = commands.add_parser(
        "study", help="train several recipes over seeds or folds and compare them; resumes"
    )
    parser.add_argument("clips", type=Path, help="clip folder")
    parser.add_argument("out", type=Path, help="folder of the study: one run folder per row and seed")
    parser.add_argument(
        "--row",
        action="append",
        default=[],
        metavar="NAME=RECIPE",
        help="a row: a recipe as for `mgkit train`; repeatable",
    )
    parser.add_argument(
        "--ablation",
        action="store_true",
        help="the rows that switch on one part of the paper's method after the other",
    )
    parser.add_argument(
        "--base",
        metavar="RECIPE",
        help="of --ablation: the two-pathway recipe whose parts are switched on (default: demo with fewer epochs)",
    )
    parser.add_argument(
        "--narrow", action="store_true", help="make systems of one pathway small enough for two CPU cores"
    )
    parser.add_argument(
        "--seeds", type=int, default=5, help="number of seeds, starting at 0 (default: %(default)s)"
    )
    parser.add_argument(
        "--folds", type=int, metavar="K", help="cross-validation by subject instead of one split"
    )
    parser.add_argument("--split", default="test", help="split to compare on (default: %(default)s)")
    parser.add_argument(
        "--val-split", default="val", help='split to choose the best epoch on; "none" = the last epoch'
    )
    parser.add_argument(
        "--against",
        default="first",
        metavar="ROW",
        help="gains on this row, or the row above (default: %(default)s)",
    )
    add_hardware(parser)
    add_changes(parser)
    parser.set_defaults(command=study)


def study(options: Any) -> None:
    from mgkit import recipes
    from mgkit.data.clips import load_clips
    from mgkit.studies import study

    if bool(options.row) == options.ablation:
        raise MgkitError("name the recipes to compare with --row NAME=RECIPE, or give --ablation.")
    if options.narrow and options.ablation:
        raise MgkitError("--narrow is for systems of one pathway; the rows of --ablation are narrow already.")
    if options.base and not options.ablation:
        raise MgkitError("--base is the recipe of --ablation, which was not given.")
    changes = recipes.parse_changes(options.changes)
    validation = None if options.val_split == "none" else options.val_split
    rows: dict[str, Any] = {}
    if options.ablation:
        chosen = validation is not None and not options.folds
        mine = dict(changes)
        base = _named_recipe(options.base, mine) if options.base else None
        rows |= recipes.ablation(base, validation=chosen, **mine)
    for word in options.row:
        name, sign, recipe = word.partition("=")
        mine = dict(changes)
        made = _named_recipe(recipe if sign else name, mine)
        rows[name] = recipes.narrow(made, **mine) if options.narrow else made.with_(**mine)
    found = study(
        load_clips(options.clips), rows, options.out, seeds=options.seeds, folds=options.folds,
        split=options.split, device=options.device, workers=options.workers, val_split=validation,
        **({} if validation is None else {"choose_on": validation}),
    )  # fmt: skip
    print(f"{found.text(against=options.against)}\n\nnext: {command('show', found.root)}")


def _step(line: str) -> None:
    print(f"\n== {line}", file=sys.stderr, flush=True)
