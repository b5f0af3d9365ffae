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
# # 4 · Evaluate
#
# ![Recall of each class with intervals](../docs/images/notebooks/04_evaluate.png)
#
# How good is it, how sure is that, for which classes, and can its probabilities be believed?
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo`, testing with 10 views | a minute | shorter (not measured) |

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
# **Your own data:** change `DATA`. A test of thousands of clips with ten views takes a while without a GPU: set
# `VIEWS = 1` for a first look.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is not there
RUN = None  # a run folder; None = the one that belongs to DATA
SPLIT = None  # None = test where there is one
VIEWS = 10  # clips a video, as in the paper

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = SPLIT or ("test" if "test" in clips.splits else clips.splits[-1])
run

# %% [markdown]
# ## One view, many views
# A test draws a clip from each video. One is quick; the paper averages the probabilities of ten, drawn at different
# times. What a test finds stays in the run folder, and a later one takes its place: from here on this run is that of
# the last line.

# %%
mg.test(run, split, views=1)
few = mg.evaluate(run, split)
mg.test(run, split, views=VIEWS)
many = mg.evaluate(run, split)
(100 * many.drop(columns=["clips", "top1_interval"])).round(1)

# %% [markdown]
# `top1` with its 95 % Wilson interval, `macro_f1` and `mean_class_accuracy`, in which each class counts the same, and
# `majority`: what always giving the most frequent training class would score. A Top-1 that is not well above that line
# says little. The interval takes clips as independent; clips of one person are not, so the true one is wider.
#
# What more views brought, in per cent points. Is it more than the width of the interval?

# %%
columns = ["top1", "macro_f1", "mean_class_accuracy"]
(100 * (many[columns] - few[columns])).round(1).assign(
    interval=(100 * (many["top1_high"] - many["top1_low"])).round(1)
)

# %% [markdown]
# ## Class by class
# Support is the number of clips. A class of few clips has a wide interval: do not conclude from its recall.

# %%
import pandas as pd

predictions = run.predictions(split)
table = mg.per_class(predictions.labels, predictions.predicted(), len(run.classes), run.classes.names)
table.set_index("class").sort_values("recall").round(2)

# %% [markdown]
# ## Click
# Matrix and bars share a selection: click a cell, a row, a column or a bar, and the other view marks the same clips.
# RGB, pose and fused stand side by side: where fused is below the better branch, the fusion costs something.

# %%
chosen = mg.widgets.Selection()
mg.widgets.ConfusionMatrix(run, split, selection=chosen)

# %% tags=["picture"]
mg.widgets.ClassAccuracy(run, split, selection=chosen)

# %% [markdown]
# What was clicked, in code (empty until then). [6 · Errors](06_errors.ipynb) plays these clips.

# %%
chosen.state

# %% [markdown]
# ## How sure it is of itself
# Clips grouped by the probability of their answer. Where `accuracy` lies below `confidence`, the network is surer than
# it should be, and a threshold on its probability lets more errors through than it promises.

# %%
mg.calibration.reliability(run, split)

# %% [markdown]
# Answering only where it is sure: share of the clips that are answered, and how many of those are right.

# %%
confidence = predictions.scores().max(1)
right = predictions.correct()
pd.DataFrame(
    {
        "at least": level,
        "answered": (confidence >= level).mean(),
        "right of these": right[confidence >= level].mean() if (confidence >= level).any() else None,
    }
    for level in (0.0, 0.5, 0.7, 0.9, 0.99)
).round(3)

# %% [markdown]
# **What to try next.**
# - One class far below the others: [5 · Prototypes](05_prototypes.ipynb) shows whether its clips lie within another one.
# - Two classes taken for each other: [6 · Errors](06_errors.ipynb) shows the clips, and whether the labels are right.
# - Fused no better than RGB: `mg.test(run, weights={"rgb": 2, "pose": 1})` weighs the branches;
#   [9 · Does it help?](09_ablation.ipynb) measures each part.
# - Too sure of itself: fewer epochs, or more data; probabilities of several views are softer than of one.
