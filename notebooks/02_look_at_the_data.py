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
# # 2 · Look at the data
#
# Most published mistakes of this field are data mistakes. Here is all that was found odd, how many clips of what there
# are, how long they are, which joints are missing of whom, what the splits share, and the clips themselves as the
# network will see them.
#
# *Time:* under a minute on the embedded data. **Your own data:** prepare it once (see the end), then change `DATA`.

# %% tags=["parameters"]
DATA = "../data/demo"

# %%
import numpy as np
import pandas as pd

import mgkit as mg

clips = mg.demo_clips(DATA)
clips

# %% [markdown]
# ## What was odd
# Nothing is dropped silently: what `prepare` left out, repaired or wondered about stands here, what was left out first
# (empty for the embedded data). `clips.report` has every entry.

# %%
clips.report_table()

# %% [markdown]
# Do the splits share anything that would make a score meaningless: the same footage, a copy of a clip, a video, a
# person? A shared person is no mistake where the official splits are like that (in iMiGUE every person of *val* is in
# *train*), but such a score says nothing about people who were never seen.

# %%
clips.leakage()

# %% [markdown]
# ## How many of each, and how long
# The classes are long-tailed, as in real recordings. Clips below 32 frames are stretched for the pose pathway.

# %%
summary = clips.summary()
summary.classes

# %%
mg.figures.class_counts(clips)

# %%
summary.lengths

# %%
mg.figures.clip_lengths(clips)

# %% [markdown]
# ## What the key-points miss
# Share of frames in which a joint was not seen. Finger tips drop out most, as with a real estimator; a column that is
# darker than the others is a person (or a camera) to look at.

# %%
mg.figures.missing_joints(clips)

# %%
summary.joints.sort_values("all", ascending=False).head(8).round(1)

# %% [markdown]
# ## The clips
# A few of each class, with the skeleton. Joints of the left side, the right side and the middle have their own colours;
# a joint that was not seen is not drawn (it is missing, not at coordinate 0).

# %%
test = clips.split("test")
mg.figures.contact_sheet(test, n=4)

# %% [markdown]
# Any clip, frame by frame: click into the player, then space plays, the arrows step through frames, `n` and `p` go
# through the clips. Frames and skeleton are drawn together, so they cannot drift apart. (Where this page is only read,
# a film strip stands in its place.)

# %%


def first(name):
    """The first test clip of a class."""
    return test.table.loc[test.labels == clips.classes.index(name), "clip_id"].iloc[0]


mg.widgets.ClipPlayer(test, first("touch chin"))

# %% [markdown]
# The same two places with another tempo, or another picture. *scratch back* has the hand behind the body where *touch
# neck* has it in front: the key-points cannot tell them apart, the picture can.

# %%
mg.figures.film_strip(clips, first("touch neck"))

# %%
mg.figures.film_strip(clips, first("scratch back"))

# %% [markdown]
# What tells *bite nails* from *touch chin* is the fingers: the same place, but how fast their tips move from frame to
# frame (median, pixels) is not the same, nor how they are spread.

# %%
tips = [i for i, joint in enumerate(clips.skeleton.joints) if joint.endswith("_tip")]


def tempo(clip_id):
    """Median step of the finger tips between frames, pixels."""
    steps = np.diff(clips.pose(clip_id)[:, :, tips, :2], axis=1)
    return np.nanmedian(np.linalg.norm(steps, axis=-1))


speed = pd.DataFrame({"class": [clips.classes.names[k] for k in test.labels], "step": map(tempo, test.ids)})
speed.groupby("class", sort=False)["step"].describe()[["25%", "50%", "75%"]].round(2)

# %% [markdown]
# ## Other splits of the same clips
# K folds over people: nobody is on both sides, each class is spread as evenly as that allows, and no video is copied
# (each fold is a small table in the folder). Train on one with `mg.train(folds[0], recipe, "runs/fold0")`.

# %%
folds = clips.folds(3, group="subject")
folds

# %% [markdown]
# ## Your own data
# The trees of iMiGUE, SMG and MA-52 as they are given out, a PYSKL annotation file beside a folder of videos, or a folder
# of videos a class become a clip folder with one call, or with `mgkit prepare imigue SOURCE data/imigue` in a shell:
#
# ```python
# clips = mg.prepare("imigue", "where/you/unpacked/it", "data/imigue")
# clips = mg.prepare("pyskl", "annotations.pkl", "data/mine", videos="videos", skeleton="coco17")
# ```
#
# Every layout and option is on the page [docs/datasets.md](../docs/datasets.md), with the recipe for a new one.
# It can be interrupted and called again; a finished folder is only opened, and when a source file has changed, only what
# depends on it is made again. `mgkit show data/mine --check` reads every file and compares it with what was written.
# Next: [3 · Train](03_train.ipynb).
