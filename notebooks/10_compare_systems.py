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
# # 10 · Compare systems
#
# ![Top-1 of every system with its interval, coloured by what it looks at](../docs/images/notebooks/10_compare_systems.png)
#
# The systems that the paper compares itself with, each trained on the same clips by the same call: skeleton networks,
# RGB networks, PoseConv3D with a semantic loss. Then the table, what in it is more than chance, and the ensemble.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | once the runs are there | a quarter of a minute | the same: nothing is trained |
# | making them, narrow | ten minutes | shorter (not measured) |
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
# **Your own data:** change `DATA`, and set `NARROW = False` to train the systems at the size they were published with
# (hours each on a GPU). The clips need videos for the RGB networks and poses for the others.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is not there
RUN = None  # folder of the runs; None = one beside the run that belongs to DATA
SEEDS = 1  # more say how much a system depends on chance
EPOCHS = None  # None = those of the recipes
NARROW = True  # made small enough for two CPU cores

# %%
from pathlib import Path

clips = mg.open_clips(DATA)
folder = Path(RUN or f"{mg.run_folder(clips)}-systems")

# %% [markdown]
# ## Recipes
# A recipe says all of a system. Every one takes changes: another stream (`stream="bone"`), other settings
# (`epochs=30`), and the refinement by prototypes. None was published with it, and it is off; `prototypes=True` adds it to
# any of them, as here to CTR-GCN.
#
# EHCT, second in 2023, is known to us by its abstract: a hypergraph transformer with more classifiers, one for each group
# of classes alike in frequency, against the long tail ([what in it is ours](../docs/systems.md)).
#
# PoseConv3D with a semantic loss also learns vectors of the class names. Point it to a file of word vectors
# (`"glove.6B.300d.txt"`) or a sentence model (`"sentence:all-MiniLM-L6-v2"`); `"names"` needs neither: each word of the
# names is a number of the vector, so that classes that share words are near each other.

# %%
words = mg.class_vectors(clips.classes.names, "names").vectors.shape[1]
recipes = mg.recipes
systems = {
    "ST-GCN": recipes.stgcn(),
    "ST-GCN++": recipes.stgcnpp(),
    "ST-GCN++, strong augmentation": recipes.stgcnpp_strong(),
    "AAGCN": recipes.aagcn(),
    "CTR-GCN": recipes.ctrgcn(),
    "CTR-GCN + prototypes": recipes.ctrgcn(prototypes=True),
    "CTR-GCN, bones": recipes.ctrgcn(stream="bone"),
    "DG-STGCN": recipes.dgstgcn(),
    "Hypergraph transformer": recipes.hyperformer(),
    "EHCT (our reading)": recipes.ehct(groups=2),
    "PoseConv3D + semantic, joints": recipes.poseconv3d_semantic("names", semantic_dim=words),
    "PoseConv3D + semantic, limbs": recipes.poseconv3d_semantic("names", semantic_dim=words, heatmap="limb"),
    "TSM": recipes.tsm(),
    "Video Swin": recipes.video_swin_tiny(),
}
changes = {} if EPOCHS is None else {"epochs": EPOCHS, "warmup_epochs": 0}
if NARROW:
    systems = {name: recipes.narrow(recipe, **changes) for name, recipe in systems.items()}
recipes.differences(systems["CTR-GCN, bones"], systems["CTR-GCN"])

# %% [markdown]
# ## Train, test, measure
# One folder a run, as for every other training: the widgets and figures of the other notebooks open each of them.

# %%
runs = mg.train_systems(clips, systems, folder, seeds=range(SEEDS), progress=False)
runs["CTR-GCN"][0].history().tail(1).T

# %% [markdown]
# ## The table
# As the paper's Table 2, and what that leaves out: intervals over people, macro-F1 and mean class accuracy, since one
# class holds much of the data, what a system costs, and whether it can be told from the best one at all.
#
# Of the embedded data: narrow networks that learnt for a minute from 400 clips and from nothing. Video Swin has hardly
# begun, and nothing here is a result about the systems.

# %%
names = [name for name, several in runs.items() for _ in several]
table = mg.method_table([run for several in runs.values() for run in several], names=names, clips=clips)
printed = mg.figures.table(table)
printed

# %% tags=["picture"]
mg.figures.methods(table, columns=2)

# %% [markdown]
# Only a Top-1 that differs significantly from **every** other is bold; p is McNemar's exact test against the best, after
# Holm (with several seeds, the larger p of a bootstrap over people and a t-test over seeds). The best was chosen on these clips, which flatters it. `printed.save("methods")` writes LaTeX (booktabs),
# Markdown and CSV:

# %%
print(printed.latex())

# %% [markdown]
# ## The ensemble
# Scores are fused by clip id. The weights are searched on the **validation** clips, where the best of many always looks
# too good; what is printed says how much of the gain is that. Members are one run each (the first seed).

# %%
members = {name: several[0] for name, several in runs.items()}
found = mg.ensembles.search_weights(members, "val", method="convex", metric="log_loss")
found

# %%
fused = mg.ensemble(members, "test", weights=found.by_name())
fused.table().round(3)

# %% [markdown]
# What each member adds: how much is lost without it (the others keep their weights). Two that say the same stand in
# for each other, and each alone may add nothing.

# %%
mg.ensembles.leave_one_out(fused).round(3)

# %% [markdown]
# The winner of 2023 fused joints and limbs at 0.4 to 0.6. Such a fusion is a member like any other, and `to_run` makes a
# run folder of it, which every widget and table opens; what its members look at it does not know, so that `modality=`
# says it.

# %%
limbs = ["PoseConv3D + semantic, joints", "PoseConv3D + semantic, limbs"]
both = mg.ensemble({name: members[name] for name in limbs}, "test", weights=[0.4, 0.6])
fusions = [both.to_run(folder / "joints-and-limbs"), fused.to_run(folder / "ensemble")]
mg.figures.table(
    mg.method_table(
        [members["CTR-GCN"], members["TSM"], *fusions],
        names=["CTR-GCN", "TSM", "Joints and limbs, 0.4 : 0.6", "Ensemble"],
        modality=["Skeleton (J)", "RGB", "Skeleton (J + L)", "RGB & Skeleton"],
        clips=clips,
    )
)

# %% [markdown]
# Which clips did the ensemble fix, and which did it break?

# %%
mg.widgets.RunComparison(members["CTR-GCN"], fusions[-1])

# %% [markdown]
# How sure may one be of what it says? A mean of many systems is less sure than each, mostly too little.

# %%
mg.figures.reliability({"CTR-GCN": members["CTR-GCN"], "ensemble": fusions[-1]})

# %% [markdown]
# ## Beside the published numbers
# On iMiGUE's 4,562 test clips. They are **published**, not ours, and on other data than the table above unless `DATA` is
# iMiGUE; `mg.method_table(..., published=True)` puts them below it.

# %%
published = mg.published.table()
published

# %% [markdown]
# Which of those gaps could be chance? Only totals are published, and how sure a gap is depends on how often two systems
# err on the same clips. So the question has three answers: within noise however their errors overlap, beyond it, or not
# to be told. First and second of the 2024 challenge are three clips apart:

# %%
print(mg.published.within_noise(0.70254, 0.70188).sentence())

# %%
noise = mg.published.noise()
for sentence in noise.loc[noise["verdict"] != "beyond noise", "sentence"]:
    print("-", sentence)

# %% [markdown]
# **Next.** [What each system is, and its settings](../docs/systems.md); [what the table's numbers cover](../docs/methods.md);
# [score files and ensembles](../docs/ensembling.md), those of other toolboxes too; `mgkit submit` writes a leaderboard's
# file.
