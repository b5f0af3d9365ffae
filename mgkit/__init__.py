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
    "train": "mgkit.training.loop",
    "train_folds": "mgkit.training.folds",
    "Weights": "mgkit.training.starts",
    "test": "mgkit.training.inference",
    "load_run": "mgkit.results.runs",
    "evaluate": "mgkit.results.metrics",
    "ablation_recipes": "mgkit.ablation",
    "run_ablation": "mgkit.ablation",
    "ablation_table": "mgkit.ablation",
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
    from mgkit.data.clips import Clips as Clips
    from mgkit.data.clips import load_clips as load_clips
    from mgkit.data.prepare import prepare as prepare
    from mgkit.demo import demo_clips as demo_clips
    from mgkit.demo import demo_run as demo_run
    from mgkit.errors import MgkitError as MgkitError
    from mgkit.results.metrics import evaluate as evaluate
    from mgkit.results.runs import load_run as load_run
    from mgkit.training import recipes as recipes
    from mgkit.training.folds import train_folds as train_folds
    from mgkit.training.inference import test as test
    from mgkit.training.loop import train as train
    from mgkit.training.starts import Weights as Weights
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
