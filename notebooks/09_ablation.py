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
# # 6 · Does it help?
#
# Each part of the method is switched on in turn, on the same clips and with the same seeds, and compared with the row
# above. A part that does not help is a finding too.
#
# *Time:* seconds once the runs are there. Making them takes about half an hour a seed on two CPU cores, some minutes on
# a GPU; stop whenever you like, the same cell goes on.

# %% tags=["parameters"]
DATA = "../data/ablation"
RUN = "../runs/ablation"
SEEDS = 5  # fewer are quicker and say less
EPOCHS = None  # None = those of the recipe; a number holds for every stage

# %%
from pathlib import Path

import pandas as pd

import mgkit as mg

clips = mg.load_clips(DATA) if Path(DATA).is_dir() else mg.demo_clips(DATA, test=400)
rows = mg.ablation_recipes(None if EPOCHS is None else mg.recipes.demo(epochs=EPOCHS))
list(rows)

# %% [markdown]
# Every two-pathway row of a seed starts from the same two branches, which were trained without prototypes. `joint
# training` is the control: as many epochs as the rows below it, but nothing joins the pathways.

# %%
table = mg.run_ablation(clips, RUN, seeds=range(SEEDS), rows=rows)
percent = ["top1", "top1_low", "top1_high", "macro_f1", "mean_class_accuracy", "above_gain", "reference_gain"]
(100 * table[percent]).round(1)

# %%
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
for name, folder in (("late fusion", "late-fusion"), ("+ both", "both")):
    parts = [mg.load_run(f"{RUN}/seed{seed}/{folder}").predictions("test") for seed in range(SEEDS)]
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
