# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Train
#
# ![Curves of a training](../docs/images/notebooks/03_train.png)
#
# A recipe holds every setting; a run folder holds everything a training produced. Change a setting, train into another
# folder, compare.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | the few epochs below | a minute | shorter (not measured) |
# | the whole demo recipe | 4 minutes | shorter (not measured) |

# %% tags=["setup"]
from importlib.util import find_spec

from IPython import get_ipython

MGKIT = ""  # only where mgkit is not installed, as on Colab: "git+" and the address of its repository
if find_spec("mgkit") is None:
    assert MGKIT, "mgkit is not installed here: write where pip finds it into the line above"
    get_ipython().run_line_magic("pip", f"install --quiet {MGKIT}")

import mgkit as mg

mg.set_up_notebook()

# %% [markdown]
# **Your own data:** change `DATA`. With `EPOCHS = None` the recipe trains for its full number of epochs, into the folder
# that the other notebooks read (`runs/<name of the data>`); `RECIPE = "fusion"` is the paper's at full size, for a GPU.

# %% tags=["parameters"]
DATA = "../data/demo"
RECIPE = "demo"  # a key of mg.recipes.RECIPES; clips with only videos or poses are trained with its branch for those
EPOCHS = 2  # few, so that this page runs quickly; None = those of the recipe
RUN = None  # a run folder; None = the one that belongs to DATA, with "-short" for few epochs

# %%
clips = mg.open_clips(DATA)
split = clips.shown_split
folder = RUN or mg.run_folder(clips, "short" if EPOCHS else "")
folder

# %% [markdown]
# ## Recipes
# `mg.recipes.paper()` is the paper's staged training at full size: the RGB branch, the pose branch, then both merged and
# trained jointly. `mg.recipes.demo()` is the same code made narrow. These settings differ between the paper's recipe and
# the one used here:

# %%
import pandas as pd

recipe = mg.recipes.RECIPES[RECIPE](**({"epochs": EPOCHS} if EPOCHS else {}))
recipe = mg.if_possible(mg.recipes.fitting, recipe, clips)
changed = mg.if_possible(mg.recipes.differences, recipe, mg.recipes.paper())
pd.DataFrame([line.split(": ", 1) for line in changed], columns=["setting", "paper -> here"])

# %% [markdown]
# ## Train
# Each branch gets its own run folder under `stages/`. Stop the training with the stop button at any time: the same call
# resumes, and ends with the same weights.
#
# Expect the losses to fall and validation accuracy to rise above that of the better branch. If RGB and pose stay far
# apart, look at the weaker one alone (`mg.recipes.rgb_only()`, `mg.recipes.pose_only()`) before tuning the fusion.

# %%
validation = "val" if "val" in clips.splits and split != "val" else None
run = mg.if_possible(mg.train, clips, recipe, folder, val_split=validation)
run

# %%
run.history().filter(regex="^epoch$|^loss|^val_top1").round(3)

# %% tags=["picture"]
mg.if_possible(mg.figures.training_curves, run)

# %% [markdown]
# ## Train in the background
# `mg.launch` takes the same arguments and returns at once: the training runs in a separate process that survives the
# kernel. The monitor reads only the run folder, so it shows a training from any machine that sees the folder. This
# example trains one branch; `devices=8` would train on eight GPUs.

# %%
branch = recipe.stages[-1] if recipe.stages else recipe
launched = mg.run_folder(clips, "launched")
job = mg.if_possible(mg.launch, clips, branch, launched, val_split=validation)
job

# %%
mg.if_possible(mg.widgets.TrainingMonitor, job)

# %% [markdown]
# Now restart the kernel, or close the page: the training continues. Later, in a new kernel, run the first cells again and
# attach to it by its folder. `mgkit status` and `mgkit stop` do the same in a shell.

# %%
job = mg.if_possible(mg.attach, launched)
job.look()

# %% [markdown]
# Stop it, here or with the button: it ends after the current step. Resuming continues from its last checkpoint.

# %%
if job.look().here:
    print(job.stop())
if job.state != "finished":
    job.resume()
job.wait().status()["state"]

# %% [markdown]
# ## Test
# This test shows one view per clip; the paper uses ten (`views=10`), and `flip=True` adds mirrored ones. Predictions and
# embeddings are saved in the run folder, keyed by clip id. Clips without a *test* split are tested on their last one;
# where that is *train*, the accuracy is that on clips it was trained on, and says nothing about others.

# %%
predictions = mg.if_possible(mg.test, run, split, views=1)
predictions.frame().head()

# %%
mg.if_possible(mg.evaluate, run, split).round(3)

# %% [markdown]
# ## Change something
# `with_` or a keyword changes a recipe; each needs its own folder (a folder with another recipe in it
# is refused, with the differences). For instance without the prototypes, or with attention over channels:
#
# ```python
# mg.train(clips, mg.recipes.demo(prototypes=False), "../runs/no-prototypes")
# mg.train(clips, mg.recipes.demo(axis="channel"), "../runs/fusion-channel")
# ```

# %%
mg.if_possible(mg.recipes.differences, recipe.with_(alpha=0.5), recipe)

# %% [markdown]
# The same from a shell, for a cluster queue: `mgkit train data/demo runs/mine --recipe demo --set alpha=0.5`.
#
# **Next.** [11 · Try an idea](11_try_an_idea.ipynb): your own fusion module, network or loss;
# [4 · Evaluate](04_evaluate.ipynb): how certain the numbers are;
# [8 · Compare runs](08_compare_runs.ipynb): whether a change was an improvement.
