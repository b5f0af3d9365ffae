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
# From clips to a confusion matrix in one page. You will see a handful of made micro-gesture clips, a trained
# two-pathway model, what it reaches, and which gestures it confuses.
#
# *Time:* under a minute if `make demo` has been run; otherwise this notebook makes the data and trains first, which
# takes about five minutes on two CPU cores.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is not there
RUN = "../runs/demo"  # a run folder; it is trained if it is not there

# %%
import mgkit as mg

clips = mg.demo_clips(DATA)
clips

# %% [markdown]
# ## The clips
# One row a class, skeletons drawn on the frames. Some classes look alike on purpose: *bite nails* and *touch chin*
# differ only in how the fingers are held and move, *rub hands* and *play with things* only by what is in the hands.

# %%
mg.figures.contact_sheet(clips.split("test"), n=5)

# %% [markdown]
# ## The model
# `demo_run` trains the RGB branch and the pose branch, merges them, and goes on with cross-modal fusion and
# prototypical refinement. A finished run is only loaded.

# %%
run = mg.demo_run(RUN, clips)
run

# %% [markdown]
# ## What it reaches
# Never Top-1 alone: one class may hold a third of the clips. `majority` is what always answering the most frequent
# training class would score; the interval is Wilson's, 95 %.

# %%
mg.evaluate(run, "test").round(3)

# %% [markdown]
# ## What it confuses
# Rows are true classes, in per cent of each. Read along a row to see where the clips of a class went.

# %%
mg.figures.confusion(run, "test")

# %% [markdown]
# The five most frequent confusions by name:

# %%
mg.analysis.confusions(run.predictions("test"), 5)

# %% [markdown]
# **Next.** [2 · Look at the data](02_look_at_the_data.ipynb) before you trust any number,
# [3 · Train](03_train.ipynb) to change something,
# [4 · Prototypes and ambiguous samples](04_prototypes.ipynb) to see why clips are confused,
# [5 · Figures](05_figures.ipynb) for the paper.
