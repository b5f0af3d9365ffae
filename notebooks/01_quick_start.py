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
# # 1 · Quick start
#
# ![Confusion matrix of the embedded data](../docs/images/notebooks/01_quick_start.png)
#
# From clips to a confusion matrix in one page: a handful of micro-gesture clips, a trained two-pathway model, its
# accuracy, and the gestures it confuses.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo` | half a minute | the same: nothing is trained |
# | without it, the data and the run are made first | + 5 minutes | shorter (not measured) |

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
# **Your own data:** `DATA` is the only path to change. The run is expected in `runs/<name of the data folder>`.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is missing
RUN = None  # a run folder; None = the one that belongs to DATA

# %%
clips = mg.open_clips(DATA)
clips

# %% [markdown]
# ## The clips
# One row per class, skeletons drawn on the frames. In the embedded data some classes are deliberately similar: *bite
# nails* and *touch chin* differ only in how the fingers are held and move, *rub hands* and *play with things* only in
# what is in the hands.

# %%
mg.figures.contact_sheet(clips.split(clips.shown_split), n=5)

# %% [markdown]
# ## The model
# An RGB branch and a pose branch were trained, merged, and trained further with cross-modal fusion and prototypical
# refinement. A finished run is only loaded.

# %%
run = mg.open_run(clips, RUN)
split = run.shown_split
run

# %% [markdown]
# ## Accuracy
# Top-1 alone misleads: one class may hold a third of the clips. `majority` is the score of always predicting the most
# frequent training class, `extra_trees` that of a forest of trees on the key-points, which takes seconds to train: a
# network that does not beat it is not worth its hours. The interval is a 95 % Wilson interval. On the embedded data
# the fused Top-1 is 88 to 98 %: with another seed, or on another processor, which rounds differently, the same training
# ends elsewhere.

# %%
floor = mg.if_possible(mg.baselines.extra_trees, clips)
mg.evaluate(run, split, baseline=floor or None).round(3)

# %% [markdown]
# ## Confusions
# Rows are true classes, in per cent of each. Read along a row to see how the clips of a class were classified: a perfect
# network has a dark diagonal and nothing else.

# %% tags=["picture"]
mg.figures.confusion(run, split)

# %% [markdown]
# The five most frequent confusions; `reverse` counts the same pair in the other direction.

# %%
mg.analysis.confusions(run.predictions(split), 5)

# %% [markdown]
# **Next.** [2 · Look at the data](02_look_at_the_data.ipynb) before you trust any number,
# [11 · Try an idea](11_try_an_idea.ipynb) to train a module of yours against the paper's,
# [4 · Evaluate](04_evaluate.ipynb) for how certain these numbers are, [6 · Errors](06_errors.ipynb) to see the clips
# behind a confusion. If something does not work, `mg.doctor()` names the problem and the remedy.
