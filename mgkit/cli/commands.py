"""What each command of the command line does: `mgkit.cli` reads the options, these functions call the kit.

Heavy libraries are imported inside, so that `mgkit --help` stays quick.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError

EXIT_BROKEN = 1


def demo(options: Any) -> None:
    from mgkit import recipes
    from mgkit.demo import open as demo
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


def reader_help(name: str) -> None:
    from mgkit.data.readers.options import parse_options

    parse_options(name, ["--help"])


def prepare(options: Any) -> None:
    from mgkit.data.prepare.folder import prepare
    from mgkit.data.readers.options import parse_options

    clips = prepare(
        options.reader, options.source, options.out, size=options.size, workers=options.workers,
        strict=options.strict, tolerated=options.tolerated, **parse_options(options.reader, options.rest),
    )  # fmt: skip
    print(clips)
    _report(clips, options.report)


def _report(clips: Any, whole: bool = False) -> None:
    from mgkit.data.prepare.folder import report_lines

    if whole:
        for entry in clips.report:
            print("\t".join((entry["what"], entry["clip_id"], entry["detail"])))
        return
    lines = list(report_lines(clips))
    print("nothing was odd" if not lines else "what was odd (how many): which")
    for line in lines:
        print(f"  {line}")


def folds(options: Any) -> None:
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

    # One recipe cannot be made without where its vectors come from.
    needed = {"vectors": changes.pop("vectors")} if "vectors" in changes else {}
    if name in recipes.RECIPES:
        return recipes.RECIPES[name](**needed)
    if ":" not in name:
        raise MgkitError(
            f"there is no recipe {name!r}; there are {', '.join(recipes.RECIPES)}, and FILE.py:NAME."
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


def train(options: Any) -> None:
    import signal
    import threading

    from mgkit.data.clips import load_clips
    from mgkit.training.loop import train

    # Who starts a process in the background may have it ignore Ctrl-C; a training must hear it to be stopped. A queue
    # says SIGTERM, also where no step is on its way: while videos are looked at, or between two stages.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
    run = train(load_clips(options.clips), _recipe(options), options.out, **_given(options))
    _print(f"run folder {run.root}; next: mgkit test {run.root}")


def launch(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.training.launch import launch

    job = launch(load_clips(options.clips), _recipe(options), options.out, **_given(options))
    print(f"launched {job.root}; next: mgkit status {job.root}, mgkit stop {job.root}")


def stop(options: Any) -> None:
    from mgkit.results.run.jobs import attach

    state = attach(options.run).stop(hard=options.hard)
    print(f"{options.run}: {state.name}; next: mgkit resume {options.run}")


def resume(options: Any) -> None:
    from mgkit.results.run.jobs import attach

    job = attach(options.run).resume()
    print(f"resumed {job.root}; next: mgkit status {job.root}, mgkit stop {job.root}")


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


def _start(words: Sequence[str], classes: str | None, joints: str | None) -> dict[str, Any] | None:
    """What `--start` and its options say, as `train` takes it: runs as they are, files with what is to be adapted."""
    from mgkit.training.start import Weights

    start: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not value:
            raise MgkitError(f"{word!r} is no start: write rgb=, pose= or all= and a run folder or a file.")
        file = Path(value).is_file()
        if not file and not Path(value).exists():
            raise MgkitError(f"--start {word}: there is no file or run folder {value}.")
        start[name] = Weights(value, classes, None if name == "rgb" else joints) if file else value
    if (classes or joints) and not any(isinstance(given, Weights) for given in start.values()):
        raise MgkitError(
            "--start-classes and --start-joints are about files of weights: give one with --start."
        )
    return start or None


def test(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.run.folder import load_run
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
            run_code=options.run_code,
        )  # fmt: skip
    _print(_results(run, options.split))


def explain(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.training.explain import explain

    clips = None if options.clips is None else load_clips(options.clips)
    saliency = explain(
        options.run, options.split, clips=clips, clip_ids=options.clip, target=options.target, output=options.output,
        checkpoint=options.checkpoint, device=options.device,
        workers=options.workers, replace=options.replace, run_code=options.run_code,
    )  # fmt: skip
    print(
        f"{saliency}\ndraw it with mgkit.widgets.ClipPlayer(run) or mgkit.figures.film_strip(..., saliency=...)"
    )


def study(options: Any) -> None:
    from mgkit import recipes
    from mgkit.data.clips import load_clips
    from mgkit.studies import study

    if bool(options.row) == options.ablation:
        raise MgkitError("name the recipes to compare with --row NAME=RECIPE, or give --ablation.")
    changes = recipes.parse_changes(options.changes)
    rows: dict[str, Any] = {}
    if options.ablation:
        rows |= recipes.ablation(recipes.demo(**changes) if changes else None)
    for word in options.row:
        name, sign, recipe = word.partition("=")
        mine = dict(changes)
        made = _named_recipe(recipe if sign else name, mine)
        rows[name] = recipes.narrow(made, **mine) if options.narrow else made.with_(**mine)
    if options.narrow and options.ablation:
        raise MgkitError("--narrow is for systems of one pathway; the rows of --ablation are narrow already.")
    found = study(
        load_clips(options.clips), rows, options.out, seeds=options.seeds, folds=options.folds,
        split=options.split, device=options.device, workers=options.workers,
        **({"val_split": None} if options.val_split == "none" else {"val_split": options.val_split}),
    )  # fmt: skip
    print(f"{found.text(against=options.against)}\n\nnext: mgkit show {found.root}")


def compare(options: Any) -> None:
    from mgkit.results.compare.runs import compare_runs
    from mgkit.views.figures.tables import table

    found = table(
        compare_runs(
            options.runs,
            options.split,
            output=options.output,
            baseline=options.baseline,
            group_seeds=options.seeds,
            common=options.common,
        )
    )
    shown = {"csv": found.csv, "markdown": found.markdown, "latex": found.latex, None: found.text}[
        options.form
    ]
    print(shown().rstrip("\n"))
    if options.form is None:
        print(f"\n{found.note}")


def ensemble(options: Any) -> None:
    from mgkit.results.ensembles.contributions import summary
    from mgkit.results.ensembles.fuse import ensemble
    from mgkit.results.ensembles.search import search_weights

    weights: Any = None
    if options.search is not None:
        found = search_weights(
            options.members, options.search, method=options.method, metric=options.metric, step=options.step,
            output=options.output, common=options.common,
        )  # fmt: skip
        print(f"{found}\n")
        weights = found.weights
    elif options.weights is not None:
        try:
            weights = [float(word) for word in options.weights.split(",")]
        except ValueError:
            raise MgkitError(
                f"--weights is {options.weights!r}: write numbers with commas, e.g. 1,2."
            ) from None
    fused = ensemble(
        options.members, options.split, weights=weights, output=options.output, common=options.common
    )
    print(summary(fused))
    if options.out is not None:
        print(f"\nrun folder {fused.to_run(options.out).root}; next: mgkit figures {options.out}")


def scores(options: Any) -> None:
    from mgkit.results.run.folder import load_run
    from mgkit.results.scores.files import write
    from mgkit.results.scores.pickles import annotation_order
    from mgkit.results.scores.scores import Scores

    run = load_run(options.run)
    found = Scores.of(run.predictions(options.split), options.output, split=options.split, name=run.name)
    order = None if options.annotations is None else annotation_order(options.annotations, options.split)[0]
    print(write(options.out, found, layout=options.layout, clip_ids=order))


def submit(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.scores import submission

    given = {
        "ids": options.ids, "split": options.split,
        "clips": None if options.clips is None else load_clips(options.clips),
    }  # fmt: skip
    path = submission.write(options.run, options.out, options.challenge, output=options.output, **given)
    rows = submission.check(path, options.challenge)
    print(f"written to {path}: {len(rows)} clips, valid for {options.challenge}")


def figures(options: Any) -> None:
    from mgkit.results.run.folder import load_run
    from mgkit.views.figures import draw_figures

    drawn = draw_figures(load_run(options.run), split=options.split)
    for path in drawn:
        print(path)
    for name, reason in drawn.skipped.items():
        print(f"not drawn: {name} ({reason})", file=sys.stderr)


def review(options: Any) -> None:
    from mgkit.data.clips import load_clips
    from mgkit.results.run.folder import load_run

    run = load_run(options.run)
    notes = run.notes()
    print(notes.frame().to_string(index=False) if len(notes) else f"there are no review notes in {run.root}")
    if options.csv is not None:
        print(f"written to {notes.save(options.csv)}")
    if not options.apply:
        return
    clips = run.clips() if options.clips is None else load_clips(options.clips)
    before = len(clips.report)
    made = clips.reviewed(
        notes, exclude=[tag.strip() for tag in options.exclude.split(",") if tag.strip()],
        relabel=not options.keep_labels, splits=options.splits.split(",") if options.splits else None,
        name=options.name,
    )  # fmt: skip
    for entry in made.report[before:]:
        print(f"  {entry['what']}: {entry['detail']}")
    print(f"{made.path}\nnext: mgkit train {made.path} RUN")


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
            print(_results(run, split))
        return
    if (options.folder / FILE).is_file():
        print(Study.open(options.folder).text())
        return
    clips = load_clips(options.folder)
    print(clips)
    print(clips.summary())
    _report(clips, options.report)
    if options.check:
        _check(clips)


def doctor(options: Any) -> int:
    from mgkit.checkup import doctor

    report = doctor()
    print(report)
    return 0 if report.ok else EXIT_BROKEN


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

    from mgkit.results.stats.metrics import evaluate

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


def _print(text: str) -> None:
    """Print what a command found; of several processes the first one does."""
    from mgkit.models.layers import rank

    if rank() == 0:
        print(text)
