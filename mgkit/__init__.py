"""mgkit: an interactive kit for micro-gesture classification.

    import mgkit as mg
    clips = mg.load_clips("data/demo")
    run = mg.train(clips, mg.recipes.demo(), "runs/demo")
    mg.evaluate(run)
    mg.figures.confusion(run)

The names below are loaded when they are first used, so that `import mgkit` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "MgkitError": "mgkit.errors",
    "Clips": "mgkit.data.clips",
    "load_clips": "mgkit.data.clips",
    "prepare": "mgkit.data.prepare.folder",
    "demo_clips": "mgkit.demo.open",
    "demo_run": "mgkit.demo.open",
    "open_clips": "mgkit.demo.open",
    "open_run": "mgkit.demo.open",
    "run_folder": "mgkit.demo.open",
    "train": "mgkit.training.loop",
    "launch": "mgkit.training.launch",
    "attach": "mgkit.results.run.jobs",
    "train_folds": "mgkit.training.studies",
    "train_systems": "mgkit.training.studies",
    "Weights": "mgkit.training.start",
    "test": "mgkit.training.inference",
    "explain": "mgkit.training.explain",
    "outline": "mgkit.training.build",
    "load_run": "mgkit.results.run.folder",
    "load_notes": "mgkit.results.run.review",
    "evaluate": "mgkit.results.stats.metrics",
    "compare_runs": "mgkit.results.compare.runs",
    "per_class": "mgkit.results.stats.metrics",
    "measure": "mgkit.training.cost",
    "class_vectors": "mgkit.data.word_vectors",
    "import_scores": "mgkit.results.scores.scores",
    "Scores": "mgkit.results.scores.scores",
    "read_scores": "mgkit.results.scores.files",
    "write_scores": "mgkit.results.scores.files",
    "ensemble": "mgkit.results.ensemble.fuse",
    "fit_temperatures": "mgkit.results.ensemble.fuse",
    "search_weights": "mgkit.results.ensemble.search",
    "leave_one_out": "mgkit.results.ensemble.contributions",
    "agreement": "mgkit.results.ensemble.contributions",
    "oracle": "mgkit.results.ensemble.contributions",
    "scores_of": "mgkit.results.scores.calibration",
    "calibration_errors": "mgkit.results.scores.calibration",
    "fit_temperature": "mgkit.results.scores.calibration",
    "temper": "mgkit.results.scores.calibration",
    "method_table": "mgkit.results.compare.methods",
    "published": "mgkit.results.compare.published",
    "within_noise": "mgkit.results.compare.published",
    "published_noise": "mgkit.results.compare.published",
    "write_submission": "mgkit.results.scores.submission",
    "check_submission": "mgkit.results.scores.submission",
    "ablation_recipes": "mgkit.training.ablation",
    "run_ablation": "mgkit.training.ablation",
    "ablation_table": "mgkit.training.ablation",
    "doctor": "mgkit.checkup",
    "set_up_notebook": "mgkit.notebook",
}
_MODULES = {
    "recipes": "mgkit.training.recipes",
    "figures": "mgkit.views.figures",
    "analysis": "mgkit.views.analysis",
    "widgets": "mgkit.views.widgets",
    "models": "mgkit.models",
}

__all__ = ["__version__", *_WHERE, *_MODULES]

if TYPE_CHECKING:
    from mgkit import models as models
    from mgkit.checkup import doctor as doctor
    from mgkit.data.clips import Clips as Clips
    from mgkit.data.clips import load_clips as load_clips
    from mgkit.data.prepare.folder import prepare as prepare
    from mgkit.data.word_vectors import class_vectors as class_vectors
    from mgkit.demo.open import demo_clips as demo_clips
    from mgkit.demo.open import demo_run as demo_run
    from mgkit.demo.open import open_clips as open_clips
    from mgkit.demo.open import open_run as open_run
    from mgkit.demo.open import run_folder as run_folder
    from mgkit.errors import MgkitError as MgkitError
    from mgkit.notebook import set_up_notebook as set_up_notebook
    from mgkit.results.compare.methods import method_table as method_table
    from mgkit.results.compare.published import published as published
    from mgkit.results.compare.published import published_noise as published_noise
    from mgkit.results.compare.published import within_noise as within_noise
    from mgkit.results.compare.runs import compare_runs as compare_runs
    from mgkit.results.ensemble.contributions import agreement as agreement
    from mgkit.results.ensemble.contributions import leave_one_out as leave_one_out
    from mgkit.results.ensemble.contributions import oracle as oracle
    from mgkit.results.ensemble.fuse import ensemble as ensemble
    from mgkit.results.ensemble.fuse import fit_temperatures as fit_temperatures
    from mgkit.results.ensemble.search import search_weights as search_weights
    from mgkit.results.run.folder import load_run as load_run
    from mgkit.results.run.jobs import attach as attach
    from mgkit.results.run.review import load_notes as load_notes
    from mgkit.results.scores.calibration import calibration_errors as calibration_errors
    from mgkit.results.scores.calibration import fit_temperature as fit_temperature
    from mgkit.results.scores.calibration import scores_of as scores_of
    from mgkit.results.scores.calibration import temper as temper
    from mgkit.results.scores.files import read_scores as read_scores
    from mgkit.results.scores.files import write_scores as write_scores
    from mgkit.results.scores.scores import Scores as Scores
    from mgkit.results.scores.scores import import_scores as import_scores
    from mgkit.results.scores.submission import check_submission as check_submission
    from mgkit.results.scores.submission import write_submission as write_submission
    from mgkit.results.stats.metrics import evaluate as evaluate
    from mgkit.results.stats.metrics import per_class as per_class
    from mgkit.training import recipes as recipes
    from mgkit.training.ablation import ablation_recipes as ablation_recipes
    from mgkit.training.ablation import ablation_table as ablation_table
    from mgkit.training.ablation import run_ablation as run_ablation
    from mgkit.training.build import outline as outline
    from mgkit.training.cost import measure as measure
    from mgkit.training.explain import explain as explain
    from mgkit.training.inference import test as test
    from mgkit.training.launch import launch as launch
    from mgkit.training.loop import train as train
    from mgkit.training.start import Weights as Weights
    from mgkit.training.studies import train_folds as train_folds
    from mgkit.training.studies import train_systems as train_systems
    from mgkit.views import analysis as analysis
    from mgkit.views import figures as figures
    from mgkit.views import widgets as widgets


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = import_module(_MODULES[name])
    elif name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
    else:
        raise AttributeError(f"module 'mgkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
