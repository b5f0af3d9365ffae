# Every public name, listed once: type checkers and editors read this file, and `mgkit/__init__.py` loads from it.

from mgkit import baselines as baselines
from mgkit import demo as demo
from mgkit import models as models
from mgkit import pose as pose
from mgkit.checkup import doctor as doctor
from mgkit.data.clips import load_clips as load_clips
from mgkit.data.prepare.folder import prepare as prepare
from mgkit.demo.open import open_clips as open_clips
from mgkit.demo.open import open_run as open_run
from mgkit.errors import MgkitError as MgkitError
from mgkit.notebook import if_possible as if_possible
from mgkit.notebook import set_up_notebook as set_up_notebook
from mgkit.parts import part as part
from mgkit.results import ensembles as ensembles
from mgkit.results import scores as scores
from mgkit.results.compare import published as published
from mgkit.results.compare.methods import method_table as method_table
from mgkit.results.compare.runs import compare_runs as compare_runs
from mgkit.results.ensembles.fuse import ensemble as ensemble
from mgkit.results.run.folder import load_run as load_run
from mgkit.results.run.folder import run_folder as run_folder
from mgkit.results.run.jobs import attach as attach
from mgkit.results.scores import calibration as calibration
from mgkit.results.scores import spotting as spotting
from mgkit.results.stats.metrics import evaluate as evaluate
from mgkit.results.stats.metrics import per_class as per_class
from mgkit.studies import study as study
from mgkit.training import recipes as recipes
from mgkit.training.cost import measure as measure
from mgkit.training.explain import explain as explain
from mgkit.training.inference import test as test
from mgkit.training.launch import launch as launch
from mgkit.training.loop import train as train
from mgkit.training.predict import predict as predict
from mgkit.training.pretrain import pretrain as pretrain
from mgkit.training.recipe import Recipe as Recipe
from mgkit.training.start import Weights as Weights
from mgkit.views import analysis as analysis
from mgkit.views import figures as figures
from mgkit.views import widgets as widgets

__version__: str
__all__: list[str]
