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
# # 9 · Does it help?
#
# ![Top-1 of each row with the spread over seeds](../docs/images/notebooks/09_ablation.png)
#
# Each part of the method is switched on in turn, on the same clips and with the same seeds, and compared with the row
# above. A part that does not help is a finding too.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | once the runs are there | seconds | the same: nothing is trained |
# | making them | half an hour a seed | shorter (not measured) |
#
# Stop whenever you like: the same cell goes on.

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
# **Your own data:** change `DATA`.

# %% tags=["parameters"]
DATA = "../data/ablation"  # a clip folder; the embedded one, with 400 test clips, is made if it is not there
RUN = None  # folder of the runs; None = the one that belongs to DATA
SEEDS = 5  # fewer are quicker and say less
EPOCHS = None  # None = those of the recipe; a number holds for every stage

# %%
import pandas as pd

clips = mg.open_clips(DATA)
folder = RUN or mg.run_folder(clips)
rows = mg.ablation_recipes(None if EPOCHS is None else mg.recipes.demo(epochs=EPOCHS))
list(rows)

# %% [markdown]
# Every two-pathway row of a seed starts from the same two branches, which were trained without prototypes. `joint
# training` is the control: as many epochs as the rows below it, but nothing joins the pathways.

# %%
table = mg.run_ablation(clips, folder, seeds=range(SEEDS), rows=rows)
percent = ["top1", "top1_low", "top1_high", "macro_f1", "mean_class_accuracy", "above_gain", "reference_gain"]
(100 * table[percent]).round(1)

# %% tags=["picture"]
mg.figures.ablation(table)

# %% [markdown]
# ## How sure is each step?
# Two sources of chance. Another seed gives another network: the paired t-test over seeds, adjusted after Holm for the
# number of rows. Other people give other test clips: the interval resamples subjects. A gain is worth a sentence in a
# paper when both agree.

# %%
table[
    ["above_gain", "above_p_holm", "above_subject_low", "above_subject_high"]
    + ["reference_gain", "reference_p_holm", "reference_subject_low", "reference_subject_high"]
].round(3)

# %% [markdown]
# ## Where does the last row differ from late fusion?
# Recall of each class over all seeds: a mean gain may hide a class that pays for it.

# %%
by_class = {}
for name, row in (("late fusion", "late-fusion"), ("+ both", "both")):
    parts = [mg.load_run(f"{folder}/seed{seed}/{row}").predictions("test") for seed in range(SEEDS)]
    hits = pd.DataFrame({"label": p.labels, "right": p.correct()} for p in parts).explode(["label", "right"])
    by_class[name] = hits.groupby("label")["right"].mean()
recall = pd.DataFrame(by_class).astype(float)
recall.index = [clips.classes.names[k] for k in recall.index]
recall["gain"] = recall["+ both"] - recall["late fusion"]
recall.round(3)

# %% [markdown]
# Change a setting for all rows with prototypes and look again, for instance
# `mg.ablation_recipes(mg.recipes.demo(alpha=0.2))` into another folder. The findings on the embedded data are on the
# page [docs/ablation.md](../docs/ablation.md).
