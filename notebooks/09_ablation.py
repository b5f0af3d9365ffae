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
# above. A part that does not help is a finding, too.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | once the runs are there | seconds | the same: nothing is trained |
# | training them | half an hour per seed | shorter (not measured) |
#
# Nothing is trained unless you ask for it, with `TRAIN = True`. Five seeds then take two and a half hours; interrupt it
# whenever you like, the same cell resumes.

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
DATA = "../data/ablation"  # a clip folder; the embedded one, with 400 test clips, is made if it is missing
RUN = None  # folder of the runs; None = the one that belongs to DATA
SEEDS = 5  # fewer are quicker and say less
EPOCHS = None  # None = those of the recipe; a number holds for every stage
TRAIN = False  # True trains what is not there yet: half an hour per seed on two CPU cores

# %%
import pandas as pd

clips = mg.open_clips(DATA)
folder = RUN or mg.run_folder(clips)
split = clips.shown_split
validation = "val" if "val" in clips.splits and split != "val" else None
splits = {"split": split, "val_split": validation}
if split == "train":  # there is no other: each clip is tested by the one of three folds that held it out
    people = clips.table["subject"].nunique() >= 3
    folds = mg.if_possible(clips.folds, 3, group="subject" if people else "clip", stratify=False)
    splits = {"folds": folds}
recipe = None if EPOCHS is None else mg.recipes.demo(epochs=EPOCHS)
rows = mg.recipes.ablation(recipe, validation=validation is not None)
list(rows)

# %% [markdown]
# ## A result that is kept
# What the embedded data gave with five seeds, on one machine: per cent, means over seeds
# ([docs/ablation.md](../docs/ablation.md) has intervals and findings; another machine gives other figures).
#
# | | Top-1 | macro-F1 | mean class accuracy | gain on the row above | p |
# |---|---|---|---|---|---|
# | RGB | 62.0 | 50.9 | 55.5 | - | - |
# | pose | 74.8 | 66.8 | 72.6 | +12.8 | 0.208 |
# | late fusion | 82.0 | 77.1 | 79.3 | +7.3 | 0.069 |
# | joint training | 89.2 | 86.8 | 87.7 | +7.2 | 0.208 |
# | laterals | 90.7 | 89.0 | 89.2 | +1.5 | 0.327 |
# | + fusion (channel) | 85.0 | 79.5 | 82.6 | -5.6 | 0.159 |
# | + fusion (time) | 87.9 | 84.4 | 85.7 | +2.9 | 0.208 |
# | + prototypes | 90.6 | 89.0 | 89.1 | +2.7 | 0.208 |
# | + both | 85.0 | 79.6 | 82.0 | -5.6 | 0.015 |
#
# ## The same here
# Every two-pathway row of a seed starts from the same two branches, which were trained without prototypes. `joint
# training` is the control: as many epochs as the rows below it, but nothing connects the pathways. `late fusion` trains
# nothing: it is the mean of the two branches' probabilities.

# %%
study = mg.if_possible(mg.study, clips, rows, folder, seeds=SEEDS, train=TRAIN, **splits)
table = study.table(against="above")
percent = [
    "top1",
    "top1_low",
    "top1_high",
    "macro_f1",
    "mean_class_accuracy",
    "gain",
    "gain_low",
    "gain_high",
]
table[percent].astype(float).mul(100).round(1)

# %% tags=["picture"]
study.figure(against="above")

# %% [markdown]
# ## How certain is each step?
# There are two sources of chance. Another seed gives another network: the paired t-test over seeds, adjusted after Holm
# for the number of rows. Other people give other test clips: the interval resamples subjects. A gain is worth a sentence
# in a paper when both agree. Here are the gains on the row with laterals alone.

# %%
on_laterals = study.table(against="laterals")
on_laterals[["gain", "p_seeds_holm", "subject_low", "subject_high", "p_subjects_holm"]].astype(float).round(3)

# %% [markdown]
# ## Where does the last row differ from late fusion?
# Recall of each class over all seeds: a mean gain may hide a class that lost.


# %%
def recall(name):
    """Recall of each class, over all seeds of a row."""
    parts = [run.predictions(study.split) for run in study.runs(name)]
    hits = pd.DataFrame({"label": p.labels, "right": p.correct()} for p in parts).explode(["label", "right"])
    return hits.astype(float).groupby("label")["right"].mean()


if study:
    recalls = pd.DataFrame({name: recall(name) for name in ("late fusion", "+ both")})
    recalls.index = [clips.classes.names[int(k)] for k in recalls.index]
recalls.assign(gain=recalls["+ both"] - recalls["late fusion"]).round(3) if study else study

# %% [markdown]
# Change a setting for all rows with prototypes and look again, for instance
# `mg.recipes.ablation(mg.recipes.demo(alpha=0.2))` into another folder. The findings on the embedded data are on the
# page [docs/ablation.md](../docs/ablation.md); your own parts are compared in the same way in
# [11 · Try an idea](11_try_an_idea.ipynb).
