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
# ![Top-1 of each row with its interval over seeds, on embedded and on real clips](../docs/images/notebooks/09_ablation.png)
#
# Each part of the method is switched on in turn, on the same clips and with the same seeds, and compared with the row
# above. A part that does not help is a finding, too.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | once the runs are there | seconds | the same: nothing is trained |
# | training them | a quarter of an hour per seed | shorter (not measured) |
#
# Nothing is trained unless you ask for it, with `TRAIN = True`. Five seeds then take an hour and a quarter; interrupt it
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
TRAIN = False  # True trains what is not there yet: a quarter of an hour per seed

# %%
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
# ## Results that are kept
# What the embedded data and real clips gave, on one machine: Top-1 in per cent, mean and 95 % interval over seeds, and
# the gain on *laterals* in points. [docs/ablation.md](../docs/ablation.md) has the commands, further figures and findings;
# another machine gives other figures.

# %% tags=["picture"]
from io import StringIO

import matplotlib.pyplot as plt
import pandas as pd

KEPT = {
    "embedded data: 5 seeds, 400 test clips": """
row,top1,low,high,gain
RGB,65.8,57.6,73.9,-25.9
pose,76.5,75.6,77.3,-15.2
late fusion,83.2,77.9,88.5,-8.4
joint training,90.8,85.1,96.4,-0.9
laterals,91.6,85.8,97.4,
+ fusion (channel),89.6,82.9,96.3,-2.0
+ fusion (time),89.9,84.2,95.6,-1.7
+ fusion (held back),91.4,85.5,97.3,-0.2
+ prototypes,91.9,86.1,97.6,+0.3
+ rectification,91.8,86.0,97.5,+0.2
+ both,90.7,84.5,96.9,-0.9
""",
    "JHMDB, real clips: 3 seeds, 93 test clips": """
row,top1,low,high,gain
RGB,25.1,16.9,33.2,-28.0
pose,61.3,33.5,89.0,+8.2
late fusion,52.7,15.3,90.1,-0.4
joint training,51.6,20.1,83.1,-1.4
laterals,53.0,19.2,86.9,
+ fusion (held back),52.0,21.0,82.9,-1.1
+ prototypes,53.0,28.8,77.3,+0.0
+ rectification,52.0,2.5,100.0,-1.1
+ both,53.4,30.1,76.7,+0.4
""",
}
figure, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
for place, (title, text) in zip(axes, KEPT.items(), strict=True):
    kept = pd.read_csv(StringIO(text), index_col="row")
    place.hlines(kept.index, kept["low"], kept["high"])
    place.plot(kept["top1"], kept.index, "o")
    for row, gain in kept["gain"].dropna().items():
        place.text(1.02, row, f"{gain:+.1f}", transform=place.get_yaxis_transform(), va="center")
    place.set(title=title, xlabel="Top-1 (%)")
    place.invert_yaxis()

# %% [markdown]
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

# %%
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
