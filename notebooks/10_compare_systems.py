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
# The systems of the paper's comparison, trained on the same clips by one call: skeleton networks, RGB networks,
# PoseConv3D with a semantic loss. Then the table, the differences in it that are more than chance, and the ensemble.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | once the runs are there | a quarter of a minute | the same: nothing is trained |
# | training them, narrow | five minutes | shorter (not measured) |
#
# Interrupt it whenever you like: the same cell resumes.

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
# **Your own data:** change `DATA`, and set `NARROW = False` to train the systems at their published size (hours each on
# a GPU). The RGB networks need videos, the others poses.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is missing
RUN = None  # folder of the runs; None = one next to the run that belongs to DATA
SEEDS = 1  # more show how much a system depends on chance
EPOCHS = None  # None = those of the recipes
NARROW = True  # made small enough for two CPU cores

# %%
from pathlib import Path

clips = mg.open_clips(DATA)
folder = Path(RUN or f"{mg.run_folder(clips)}-systems")
split = clips.shown_split
validation = "val" if "val" in clips.splits and split != "val" else None
splits = {"split": split, "val_split": validation}
if split == "train":  # there is no other: each clip is tested by the one of three folds that held it out
    people = clips.table["subject"].nunique() >= 3
    folds = mg.if_possible(clips.folds, 3, group="subject" if people else "clip", stratify=False)
    splits = {"folds": folds}

# %% [markdown]
# ## Recipes
# A recipe holds every setting of a system. Each takes changes: another stream (`stream="bone"`), other settings
# (`epochs=30`), and prototypical refinement. None was published with refinement, so it is off; `prototypes=True` adds it
# to any of them, as here to CTR-GCN.
#
# EHCT, second in 2023, is known to us only by its abstract: a hypergraph transformer with additional classifiers, one for
# each group of classes of similar frequency, against the long tail ([our reading of it](../docs/systems.md)).
#
# PoseConv3D with a semantic loss also learns vectors of the class names. Give it a file of word vectors
# (`"glove.6B.300d.txt"`) or a sentence model (`"sentence:all-MiniLM-L6-v2"`); `"names"` needs neither: each word of the
# names is one dimension, so classes that share words are close.

# %%
words = mg.recipes.class_vectors(clips.classes.names, "names").vectors.shape[1]
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
# Systems that read what these clips do not have are left out.

# %%
readable = {"rgb": clips.has_video, "pose": clips.has_pose}
left_out = [name for name, recipe in systems.items() if not all(readable[p] for p in recipe.pathways)]
systems = {name: recipe for name, recipe in systems.items() if name not in left_out}
left_out or "None is left out."

# %% [markdown]
# ## Train, test, measure
# One call for all systems and seeds; each run is an ordinary folder that the widgets and figures of the other notebooks
# open.

# %%
also = (validation,) if validation else ()
study = mg.if_possible(
    mg.study, clips, systems, folder, seeds=SEEDS, also=also, cost=True, progress=False, **splits
)
first = "CTR-GCN" if "CTR-GCN" in systems else next(iter(systems), "")
study.runs(first, folds=True)[0].history().tail(1).T

# %% [markdown]
# ## The table
# Like the paper's Table 2, with what that leaves out: intervals over people; macro-F1 and mean class accuracy, since one
# class holds much of the data; the cost of each system; and whether it differs significantly from the best one.
#
# On the embedded data these are narrow networks that learnt for half a minute from 400 clips, starting from nothing. Video
# Swin has hardly begun to learn, and nothing here is a result about the systems.

# %%
labelled = study.labelled()
table = mg.if_possible(mg.method_table, labelled[0], study.split, names=labelled[1], clips=clips)
printed = mg.if_possible(mg.figures.table, table)
printed

# %% tags=["picture"]
mg.if_possible(mg.figures.methods, table, columns=2)

# %% [markdown]
# A Top-1 is bold only if it differs significantly from **every** other; p is McNemar's exact test against the best, after
# Holm (with several seeds, the larger p of a bootstrap over people and a t-test over seeds). The best was chosen on these
# clips, which flatters it. `printed.save("methods")` writes LaTeX (booktabs), Markdown and CSV:

# %%
print(printed.latex())

# %% [markdown]
# ## The ensemble
# Scores are fused by clip id. The weights are searched on the **validation** clips, where the best of many always looks
# too good; the output estimates how much of the gain is due to that. Each member is one run (the first seed). Without
# validation clips all weigh the same.

# %%
members = {name: study.runs(name)[0] for name in study.names}
search = mg.ensembles.search_weights
found = mg.if_possible(search, members, validation, method="convex", metric="log_loss") if also else None
found

# %%
fused = mg.if_possible(mg.ensemble, members, study.split, weights=found.by_name() if found else None)
fused.table().round(3)

# %% [markdown]
# The contribution of each member is the loss without it (the others keep their weights). Two similar members replace
# each other, so each alone may add nothing.

# %%
mg.if_possible(mg.ensembles.leave_one_out, fused).round(3)

# %% [markdown]
# The winner of 2023 fused joints and limbs at 0.4 to 0.6. Such a fusion is a member like any other, and `to_run` makes it
# a run folder that every widget and table opens; it does not know its members' modality, so name it with `modality=`.

# %%
limbs = ["PoseConv3D + semantic, joints", "PoseConv3D + semantic, limbs"]
rows = {
    name: (members[name], what)
    for name, what in (("CTR-GCN", "Skeleton (J)"), ("TSM", "RGB"))
    if name in members
}
if set(limbs) <= set(members):
    both = mg.ensemble({name: members[name] for name in limbs}, study.split, weights=[0.4, 0.6])
    rows["Joints and limbs, 0.4 : 0.6"] = both.to_run(folder / "joints-and-limbs"), "Skeleton (J + L)"
kinds = (["RGB"] if clips.has_video else []) + (["Skeleton"] if clips.has_pose else [])
rows["Ensemble"] = fused.to_run(folder / "ensemble"), " & ".join(kinds)
compared = mg.if_possible(
    mg.method_table,
    [run for run, _ in rows.values()],
    study.split,
    names=list(rows),
    modality=[what for _, what in rows.values()],
    clips=clips,
)
mg.if_possible(mg.figures.table, compared)

# %% [markdown]
# The clips that the ensemble fixed, and those it broke:

# %%
ensemble = rows["Ensemble"][0]
mg.if_possible(mg.widgets.RunComparison, members.get(first), ensemble, study.split)

# %% [markdown]
# Calibration: a mean of many systems is less confident than each of them, usually too little.

# %%
mg.if_possible(mg.figures.reliability, {first: members.get(first), "ensemble": ensemble}, study.split)

# %% [markdown]
# ## The published numbers
# On iMiGUE's 4,562 test clips. They are **published**, not ours, and on other data than the table above unless `DATA` is
# iMiGUE; `mg.method_table(..., published=True)` adds them to the table.

# %%
published = mg.published.table()
published

# %% [markdown]
# Which of those gaps could be chance? Only totals are published, and the certainty of a gap depends on how often two
# systems err on the same clips. So there are three answers: within noise however the errors overlap, beyond it, or
# undecidable. First and second of the 2024 challenge are three clips apart:

# %%
print(mg.published.within_noise(0.70254, 0.70188).sentence())

# %%
noise = mg.published.noise()
for sentence in noise.loc[noise["verdict"] != "beyond noise", "sentence"]:
    print("-", sentence)

# %% [markdown]
# **Next.** [Each system and its settings](../docs/systems.md); [the meaning of the table's numbers](../docs/methods.md);
# [score files and ensembles](../docs/ensembling.md), also of other toolboxes; `mgkit submit` writes a leaderboard file.
