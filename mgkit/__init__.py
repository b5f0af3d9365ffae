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
    "prepare": "mgkit.data.prepare",
    "demo_clips": "mgkit.demo",
    "demo_run": "mgkit.demo",
    "open_clips": "mgkit.demo",
    "open_run": "mgkit.demo",
    "run_folder": "mgkit.demo",
    "train": "mgkit.training.loop",
    "launch": "mgkit.training.launching",
    "attach": "mgkit.results.jobs",
    "train_folds": "mgkit.training.folds",
    "train_systems": "mgkit.training.systems",
    "Weights": "mgkit.training.starts",
    "test": "mgkit.training.inference",
    "explain": "mgkit.training.explaining",
    "outline": "mgkit.training.outlines",
    "load_run": "mgkit.results.runs",
    "load_notes": "mgkit.results.review",
    "evaluate": "mgkit.results.metrics",
    "compare_runs": "mgkit.results.comparison",
    "per_class": "mgkit.results.metrics",
    "measure": "mgkit.training.cost",
    "class_vectors": "mgkit.data.word_vectors",
    "import_scores": "mgkit.results.scores",
    "Scores": "mgkit.results.score_records",
    "read_scores": "mgkit.results.score_files",
    "write_scores": "mgkit.results.score_files",
    "ensemble": "mgkit.results.ensemble",
    "fit_temperatures": "mgkit.results.ensemble",
    "search_weights": "mgkit.results.weight_search",
    "leave_one_out": "mgkit.results.contributions",
    "agreement": "mgkit.results.contributions",
    "oracle": "mgkit.results.contributions",
    "scores_of": "mgkit.results.calibration",
    "calibration_errors": "mgkit.results.calibration",
    "fit_temperature": "mgkit.results.calibration",
    "temper": "mgkit.results.calibration",
    "method_table": "mgkit.results.methods",
    "published": "mgkit.results.published",
    "within_noise": "mgkit.results.published",
    "published_noise": "mgkit.results.published",
    "write_submission": "mgkit.results.submission",
    "check_submission": "mgkit.results.submission",
    "ablation_recipes": "mgkit.ablation",
    "run_ablation": "mgkit.ablation",
    "ablation_table": "mgkit.ablation",
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
    from mgkit.ablation import ablation_recipes as ablation_recipes
    from mgkit.ablation import ablation_table as ablation_table
    from mgkit.ablation import run_ablation as run_ablation
    from mgkit.checkup import doctor as doctor
    from mgkit.data.clips import Clips as Clips
    from mgkit.data.clips import load_clips as load_clips
    from mgkit.data.prepare import prepare as prepare
    from mgkit.data.word_vectors import class_vectors as class_vectors
    from mgkit.demo import demo_clips as demo_clips
    from mgkit.demo import demo_run as demo_run
    from mgkit.demo import open_clips as open_clips
    from mgkit.demo import open_run as open_run
    from mgkit.demo import run_folder as run_folder
    from mgkit.errors import MgkitError as MgkitError
    from mgkit.notebook import set_up_notebook as set_up_notebook
    from mgkit.results.calibration import calibration_errors as calibration_errors
    from mgkit.results.calibration import fit_temperature as fit_temperature
    from mgkit.results.calibration import scores_of as scores_of
    from mgkit.results.calibration import temper as temper
    from mgkit.results.comparison import compare_runs as compare_runs
    from mgkit.results.contributions import agreement as agreement
    from mgkit.results.contributions import leave_one_out as leave_one_out
    from mgkit.results.contributions import oracle as oracle
    from mgkit.results.ensemble import ensemble as ensemble
    from mgkit.results.ensemble import fit_temperatures as fit_temperatures
    from mgkit.results.jobs import attach as attach
    from mgkit.results.methods import method_table as method_table
    from mgkit.results.metrics import evaluate as evaluate
    from mgkit.results.metrics import per_class as per_class
    from mgkit.results.published import published as published
    from mgkit.results.published import published_noise as published_noise
    from mgkit.results.published import within_noise as within_noise
    from mgkit.results.review import load_notes as load_notes
    from mgkit.results.runs import load_run as load_run
    from mgkit.results.score_files import read_scores as read_scores
    from mgkit.results.score_files import write_scores as write_scores
    from mgkit.results.score_records import Scores as Scores
    from mgkit.results.scores import import_scores as import_scores
    from mgkit.results.submission import check_submission as check_submission
    from mgkit.results.submission import write_submission as write_submission
    from mgkit.results.weight_search import search_weights as search_weights
    from mgkit.training import recipes as recipes
    from mgkit.training.cost import measure as measure
    from mgkit.training.explaining import explain as explain
    from mgkit.training.folds import train_folds as train_folds
    from mgkit.training.inference import test as test
    from mgkit.training.launching import launch as launch
    from mgkit.training.loop import train as train
    from mgkit.training.outlines import outline as outline
    from mgkit.training.starts import Weights as Weights
    from mgkit.training.systems import train_systems as train_systems
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
