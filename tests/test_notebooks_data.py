"""Every notebook runs to its end on data of every kind, and a cell that a kind does not allow says so in a sentence.

The cells are executed here, without a kernel, on a few clips of a few pixels. What the notebooks compute and draw has
tests of its own; so figures are made but not rendered, and the trainings of whole studies are refused as they would be
but write a run without computing it.
"""

from __future__ import annotations

import ast
import dataclasses
import linecache
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jupytext
import numpy as np
import pandas as pd
import pytest

import mgkit as mg
from mgkit import notebook
from mgkit.data.clips import Classes, Clips, write_clip_folder
from mgkit.data.readers.pyskl import load_annotations
from mgkit.data.video import write_video
from mgkit.notebook import Reason
from mgkit.pose.estimators import Estimator, get_estimator
from mgkit.results.run.files import append_history
from mgkit.results.run.folder import Run, create_run, load_run, run_folder, write_predictions
from mgkit.results.run.jobs import Job
from mgkit.results.run.records import Predictions
from mgkit.results.run.status import write_status
from mgkit.results.stats import resampling
from mgkit.training import loop, recipes
from mgkit.training.options import Options
from mgkit.training.recipe import Recipe
from tests.tiny import TRIANGLE, tiny_pose, tiny_row
from tests.training.training import TINY, fit

pytestmark = pytest.mark.slow

OF_VIDEOS = ("12_your_own_videos",)  # begins with recordings, not with clips
SCRIPTS = [
    path
    for path in sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.py"))
    if path.stem not in OF_VIDEOS
]
STUDIES = ("09_ablation", "10_compare_systems", "11_try_an_idea", "13_transfer")
WITHOUT_RUN = ("02_look_at_the_data", "03_train", *STUDIES)  # they look at no run but their own
FRAMES = 6


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of data: `counts` are clips per class of each split, `run` is the pathway or pathways of its run, "" for
    imported scores; `lacking` clips have neither a video nor a pose; `seeds` are those of a study."""

    counts: dict[str, int]
    classes: int = 4
    run: str = "both"
    videos: bool = True
    poses: bool = True
    prototypes: bool = True
    lacking: int = 0
    seeds: int = 1


USUAL = {"train": 3, "val": 1, "test": 2}
KINDS = {
    "videos without poses": Kind(USUAL, run="rgb", poses=False),
    "poses without videos": Kind(USUAL, run="pose", videos=False),
    "a single-pathway run": Kind(USUAL, run="rgb"),
    "one split only": Kind({"train": 4}),
    "three classes of four clips": Kind({"train": 2, "test": 2}, classes=3, seeds=2),
    "52 classes": Kind({"train": 1, "test": 1}, classes=52),
    "imported scores": Kind(USUAL, run=""),
    # Two more of the same kind.
    "a run without prototypes": Kind({"xsub_train": 1, "train": 2, "xsub_test": 1}, prototypes=False),
    "clips without anything": Kind(USUAL, run="", lacking=5),
}


def made_clips(root: Path, kind: Kind) -> Clips:
    rows, poses = [], []
    (root / "videos").mkdir(parents=True)
    one = root / "videos" / "any.mp4"
    write_video(one, np.random.default_rng(0).integers(0, 255, (FRAMES, 32, 32, 3), np.uint8), 25)
    for split, count in kind.counts.items():
        for label in range(kind.classes):
            for i in range(count):
                clip_id = f"{split}_{label}_{i}"
                there = len(rows) >= kind.lacking
                video = f"videos/{clip_id}.mp4" if kind.videos and there else ""
                if video:
                    shutil.copy(one, root / video)
                posed = kind.poses and there
                where = {"subject": f"S{i % 3}", "source": f"film {i % 4}"}
                size = {"frames": FRAMES, "end": FRAMES, "persons": int(posed)}
                rows.append(tiny_row(clip_id, label, split=split, video=video, **where, **size))
                poses.append(tiny_pose(label, len(rows), FRAMES) if posed else None)
    names = Classes(tuple(f"gesture {k}" for k in range(kind.classes)))
    return write_clip_folder(root, rows, poses, names, TRIANGLE)


def tiny_recipe(run: str, **changes: Any) -> Recipe:
    whole = recipes.demo(**{**TINY, "epochs": 1, "batch_size": 32, **changes})
    return {"both": whole, **{stage.name: stage for stage in whole.stages}}[run]


def made_run(root: Path, clips: Clips, kind: Kind) -> Run:
    part = clips.split(clips.shown_split)
    if not kind.run:
        scores = np.random.default_rng(0).dirichlet(np.full(kind.classes, 0.3), len(part))
        return mg.scores.import_scores(
            root, clip_ids=part.ids, labels=part.labels, probabilities=scores, classes=clips.classes,
            name="theirs", split=clips.shown_split, skeleton=clips.skeleton,
        )  # fmt: skip
    recipe = tiny_recipe(kind.run, prototypes=kind.prototypes)
    run = fit(clips, recipe, root, val_split="val" if "val" in clips.splits else None)
    for one in (*(run.stage(name) for name in run.stages()), run):
        mg.test(one, clips.shown_split, workers=0, device="cpu", progress=False)
    return load_run(root)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Clips, Run]]:
    """The clips and the run of a kind, made when they are first asked for."""
    root, found = tmp_path_factory.mktemp("kinds"), dict[str, tuple[Clips, Run]]()

    def make(name: str) -> tuple[Clips, Run]:
        if name not in found:
            folder = f"kind{len(found)}"
            clips = made_clips(root / "data" / folder, KINDS[name])
            found[name] = clips, made_run(run_folder(clips), clips, KINDS[name])
        return found[name]

    return make


def quick_training(clips: Clips, recipe: Recipe, out: str | Path, **options: Any) -> Run:
    """Refuses what a training refuses, and writes a tested run without computing one."""
    start = options.pop("start", None)
    chosen = Options(**{"progress": False, **options})
    loop._clip_sets(SimpleNamespace(clips=clips, options=chosen), recipe)  # type: ignore[arg-type]
    root = Path(out)
    if (root / "config.json").is_file():
        return load_run(root)
    create_run(
        root, recipe=recipe.to_dict(), clips=clips, pathways=recipe.pathways, environment={},
        settings={"seed": chosen.seed},
    )  # fmt: skip
    outputs = [*recipe.pathways, *(["fused"] if len(recipe.pathways) > 1 else [])]
    for name in clips.splits:
        part, rng = clips.split(name), np.random.default_rng([chosen.seed, len(str(root))])
        scores = {one: rng.dirichlet(np.full(len(clips.classes), 0.3), len(part)) for one in outputs}
        write_predictions(root, name, Predictions(part.ids, part.labels, scores))
    append_history(root, {"epoch": 1, "loss": 1.0})
    write_status(root, "finished", 1, 1)
    (root / "code").mkdir()
    if start:
        (root / "start.txt").write_text("from another run\nused 1 value of the file\n", encoding="utf-8")
    return load_run(root)


def launched(clips: Clips, recipe: Recipe, out: str | Path, **options: Any) -> Job:
    """Trains at once instead of in a process of its own."""
    fit(clips, recipe, Path(out), **options)
    return Job(Path(out))


def few_draws(*given: Any, _bootstrap: Callable[..., Any] = resampling.bootstrap) -> Any:
    *before, draws = given
    return _bootstrap(*before, min(draws, 50))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, flat: None) -> None:
    """Nothing takes long that has tests of its own."""
    picture = (b"", {"width": 1, "height": 1})
    monkeypatch.setattr("mgkit.views.figures.style.PaperFigure._repr_png_", lambda self: picture)
    monkeypatch.setattr("mgkit.views.figures.style.PaperFigure.png", lambda self, dpi=0: b"")
    monkeypatch.setattr("mgkit.views.figures.style.PaperFigure.pdf", lambda self: b"")
    monkeypatch.setattr(mg.figures, "draw_figures", lambda *given, **options: [])
    monkeypatch.setattr(mg, "launch", launched)
    monkeypatch.setitem(recipes.RECIPES, "demo", lambda **changes: tiny_recipe("both", **changes))
    monkeypatch.setattr("mgkit.training.inference.tested_as", lambda *given, **options: True)
    monkeypatch.setattr("mgkit.training.cost.measure", lambda *given, **options: None)
    monkeypatch.setattr("gc.collect", lambda generation=2: 0)  # of a long test session it takes half a second
    for module in ("resampling", "significance"):
        monkeypatch.setattr(f"mgkit.results.stats.{module}.bootstrap", few_draws)
    monkeypatch.setattr(mg.baselines, "extra_trees", partial(mg.baselines.extra_trees, trees=10))
    for name in ("train", "test", "explain"):
        monkeypatch.setattr(mg, name, partial(getattr(mg, name), device="cpu", workers=0, progress=False))


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mgkit.views.analysis.embedding._umap", lambda fitted, moving, seed: (fitted[:, :2], moving[:, :2])
    )


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names of a fresh `__main__`, as a kernel has one; what a notebook sets up ends with it."""
    monkeypatch.setattr(notebook, "_SETTINGS", dict(notebook._SETTINGS))
    before, module = sys.modules["__main__"], ModuleType("__main__")
    sys.modules["__main__"] = module
    yield vars(module)
    sys.modules["__main__"] = before


@cache
def code(script: Path) -> list[tuple[int, str, bool]]:
    """(number, source, whether it is the one of the parameters) of each cell of code, read once for all cases."""
    found = enumerate(jupytext.read(script).cells)
    return [
        (number, cell.source, "parameters" in cell.metadata.get("tags", ()))
        for number, cell in found
        if cell.cell_type == "code"
    ]


def run_cells(script: Path, parameters: dict[str, Any], names: dict[str, Any]) -> list[str]:
    """Execute the cells of a notebook and show what each ends with; returns the sentences that stand for a result."""
    sentences = []
    for number, source, given in code(script):
        if given:
            source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
        file = f"ipykernel/{script.stem}-{number}.py"  # where the code of a run's parts is looked up
        linecache.cache[file] = len(source), None, source.splitlines(True), file
        body = ast.parse(source).body
        last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), file, "exec"), names)
        shown = None if last is None else eval(compile(last, file, "eval"), names)
        if isinstance(shown, Reason):
            sentences.append(repr(shown))
        for name in ("_repr_mimebundle_", "_repr_html_", "_repr_png_", "__repr__"):
            if not isinstance(shown, type) and hasattr(shown, name):
                getattr(shown, name)()
    return sentences


CASES = [
    pytest.param(script, name, id=f"{script.stem}-{name}")
    for name in KINDS
    for script in SCRIPTS
    if script.stem not in WITHOUT_RUN or name not in ("a single-pathway run", "imported scores")
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script, name", CASES)
def test_every_notebook_runs_on_every_kind_of_data(
    script: Path, name: str, made: Callable[[str], tuple[Clips, Run]], tmp_path: Path, quick: None,
    main: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    clips, run = made(name)
    text = script.read_text(encoding="utf-8")
    parameters: dict[str, Any] = {"DATA": str(clips.root)}
    if "STEPS = " in text:
        parameters |= {"STEPS": 2, "RUN": str(tmp_path / "run")}
    elif "EPOCHS = " in text:
        parameters |= {"EPOCHS": 1, "RUN": str(tmp_path / "run")}
    elif "RUN = " in text:  # a copy beside it, for what the notebook writes
        parameters["RUN"] = str(run.root.with_name(f"{run.root.name}-{script.stem}"))
        shutil.copytree(run.root, parameters["RUN"])
    if "SEEDS = " in text:
        parameters["SEEDS"] = KINDS[name].seeds
    if "TRAIN = " in text:
        parameters["TRAIN"] = True
    if "VIEWS = " in text:
        parameters["VIEWS"] = 2
    if script.stem in STUDIES:
        monkeypatch.setattr(loop, "train", quick_training)
    sentences = run_cells(script, parameters, main)
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in sentences)
    if KINDS[name].run == "both" and KINDS[name].prototypes and script.stem != "05_prototypes":
        assert not sentences, "nothing is missing here"


# Of the real clips: what somebody has coded, in seconds; a video without a gesture, and golf is the new one.
CODED = """video,start,end,class,subject,split
hmdb_climb,0.5,1.5,reach,a,train
hmdb_climb,3.0,4.0,swing,a,train
hmdb_climb,6.0,7.0,reach,a,train
hmdb_punch,0.5,1.5,swing,b,train
hmdb_punch,3.5,4.5,reach,b,train
hmdb_swing_baseball,0.5,1.5,swing,c,val
hmdb_swing_baseball,2.5,3.5,reach,c,val
hmdb_shoot_bow,,,,d,val
"""


class Known:
    """In place of MediaPipe, which tests do without: the key-points that it once gave for these very clips. A clip is
    recognised by its number of frames, all of which come in one call."""

    layout = "holistic75"
    version = "1"

    def __init__(self, pickle: Path) -> None:
        self.points = {}
        for one in load_annotations(pickle, labelled=False)[0].values():
            points = np.concatenate([one["keypoint"], one["keypoint_score"][..., None]], -1).astype(
                np.float32
            )
            points[points[..., 2] <= 0] = np.nan
            self.points[points.shape[1]] = points

    def reset(self) -> None:
        """Nothing is carried on; having it means that a video is not estimated in spans."""

    def __call__(self, frames: np.ndarray, fps: float) -> np.ndarray:
        return self.points[len(frames)]


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_on_videos_runs_on_recordings_of_people(
    sample_dir: Path, tmp_path: Path, quick: None, main: dict[str, Any], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data, new, fetched = tmp_path / "mine", tmp_path / "new" / "hmdb_golf.mp4", list[str]()
    for path in sorted((sample_dir / "clips").glob("*.mp4")):
        target = new if path.name == new.name else data / path.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    (data / "segments.csv").write_text(CODED, encoding="utf-8")
    known = Known(sample_dir / "hmdb5_holistic75.pkl")

    def stand_in(estimator: str, **settings: Any) -> Estimator:
        assert estimator == "holistic"
        return get_estimator(known)

    monkeypatch.setattr("mgkit.pose.folder.get_estimator", stand_in)
    monkeypatch.setattr("mgkit.pose.folder.BLOCK", 1 << 30)
    monkeypatch.setattr(mg.pose, "fetch", lambda: fetched.append("weights"))
    monkeypatch.setattr(mg.pose, "estimate", partial(mg.pose.estimate, workers=1))
    monkeypatch.setattr(mg, "prepare", partial(mg.prepare, workers=1))
    script = Path(__file__).resolve().parents[1] / "notebooks" / "12_your_own_videos.py"
    given = {"DATA": str(data), "NEW": str(new), "RUN": str(tmp_path / "run"), "STEPS": 2}
    assert not run_cells(script, given, main), "nothing is missing here"

    poses, clips, said = main["poses"], main["clips"], main["said"]
    assert fetched == ["weights"]
    assert sorted(poses.names) == ["hmdb_climb", "hmdb_punch", "hmdb_shoot_bow", "hmdb_swing_baseball"]
    for name in poses.names:
        points = poses[name].points
        np.testing.assert_array_equal(points, known.points[points.shape[1]])
    assert {"nobody seen", "hands seen"} <= set(poses.report_table()["what"])
    assert clips.classes.names == ("reach", "swing", "non_gesture")
    labels = clips.table.groupby(["split", "label"]).size()
    assert labels["train"].tolist() == [3, 2, 2]  # a background clip for two gestures
    assert labels["val"].tolist() == [1, 1, 1]
    assert (clips.table["persons"] == 1).all()
    # The windows of the new recording have the length of the training clips, one second of 30 frames.
    assert len(said) > 5
    np.testing.assert_array_equal(said.frames[:, 1] - said.frames[:, 0], 30)
    assert said.frames[0, 0] == 0
    assert 89 - 30 // 4 < said.frames[-1, 1] <= 89
    np.testing.assert_allclose(said.scores().sum(1), 1, atol=1e-5)
    assert (new.parent / "hmdb_golf.prediction.npz").is_file()
    assert (new.parent / "poses" / "hmdb_golf.npz").is_file()
    answers = pd.read_csv(f"{data}-answers.csv")
    assert set(answers["class"]) <= {"reach", "swing"}
    assert answers["end"].max() <= 89 / 30 + 1e-6 or answers.empty
