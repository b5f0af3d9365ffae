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
# How accurate is the run, how certain is that number, for which classes, and can its probabilities be trusted?
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo`, testing with 10 views | half a minute | shorter (not measured) |

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
# **Your own data:** change `DATA`. Testing thousands of clips with ten views takes a while without a GPU: set
# `VIEWS = 1` for a first look.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is missing
RUN = None  # a run folder; None = the one that belongs to DATA
SPLIT = None  # None = test where there is one
VIEWS = 10  # clips a video, as in the paper

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = SPLIT or run.shown_split
run

# %% [markdown]
# ## One view, many views
# A test samples frames from each clip. One such view is quick; the paper averages the probabilities of ten, sampled at
# different times. The result is stored in the run folder and replaced by the next test, so from here on this run is
# that of the last line. (Imported scores are what they are: there is no network to test.)

# %%
mg.if_possible(mg.test, run, split, views=1)
few = mg.evaluate(run, split)
mg.if_possible(mg.test, run, split, views=VIEWS)
floor = mg.if_possible(mg.baselines.extra_trees, clips)
many = mg.evaluate(run, split, baseline=floor or None)
(100 * many.drop(columns="clips")).round(1)

# %% [markdown]
# `top1` has a 95 % Wilson interval; `macro_f1` and `mean_class_accuracy` weight all classes equally; `majority` is the
# score of always predicting the most frequent training class, `extra_trees` that of a forest of trees on the key-points
# (`mg.baselines`). A Top-1 that is not well above these rows means little. The interval assumes independent clips;
# clips of one person are not, so the true interval is wider.
#
# The gain from more views, in percentage points. Is it larger than the width of the interval?

# %%
columns = ["top1", "macro_f1", "mean_class_accuracy"]
gain = many.loc[few.index]
(100 * (gain[columns] - few[columns])).round(1).assign(
    interval=(100 * (gain["top1_high"] - gain["top1_low"])).round(1)
)

# %% [markdown]
# ## Class by class
# Support is the number of clips. A class with few clips has a wide interval: draw no conclusions from its recall.

# %%
import pandas as pd

predictions = run.predictions(split)
table = mg.per_class(predictions.labels, predictions.predicted(), len(run.classes), run.classes.names)
table.set_index("class").sort_values("recall").round(2)

# %% [markdown]
# ## Confusion matrix and accuracy, interactive
# Matrix and bars share a selection: click a cell, a row, a column or a bar, and the other view marks the same clips.
# RGB, pose and fused are shown side by side: where fused is below the better branch, fusion does harm.

# %%
chosen = mg.widgets.Selection()
mg.widgets.ConfusionMatrix(run, split, selection=chosen)

# %% tags=["picture"]
mg.widgets.ClassAccuracy(run, split, selection=chosen)

# %% [markdown]
# The selection in code (empty until you click). [6 · Errors](06_errors.ipynb) plays these clips.

# %%
chosen.state

# %% [markdown]
# ## Calibration
# Clips are grouped by the probability of their prediction. Where `accuracy` is below `confidence`, the network is
# overconfident, and a threshold on its probability lets more errors through than it promises.

# %%
mg.calibration.reliability(run, split)

# %% [markdown]
# Predicting only above a threshold of confidence: the share of clips that get a prediction, and its accuracy.

# %%
confidence = predictions.scores().max(1)
right = predictions.correct()
pd.DataFrame(
    {
        "at least": level,
        "predicted": (confidence >= level).mean(),
        "right of these": right[confidence >= level].mean() if (confidence >= level).any() else None,
    }
    for level in (0.0, 0.5, 0.7, 0.9, 0.99)
).round(3)

# %% [markdown]
# **What to try next.**
# - One class far below the others: [5 · Prototypes](05_prototypes.ipynb) shows whether its clips lie within another one.
# - Two classes confused with each other: [6 · Errors](06_errors.ipynb) shows the clips and whether the labels are right.
# - Fused no better than RGB: `mg.test(run, weights={"rgb": 2, "pose": 1})` weights the branches;
#   [9 · Does it help?](09_ablation.ipynb) measures each part.
# - Overconfident: fewer epochs, or more data; probabilities averaged over several views are softer.
