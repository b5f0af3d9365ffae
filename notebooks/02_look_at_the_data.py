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
# ![A few clips of each class with their skeletons](../docs/images/notebooks/02_look_at_the_data.png)
#
# Most published mistakes in this field are data mistakes. This notebook shows everything that was found odd, the number
# of clips per class, their lengths, which joints are missing for whom, what the splits share, and the clips themselves
# as the network will see them.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | embedded data | half a minute | the same: the GPU is not used |

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
# **Your own data:** prepare it once (see the end), then change `DATA`.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it does not exist

# %%
clips = mg.open_clips(DATA)
clips

# %% [markdown]
# ## What was odd
# Nothing is dropped silently: the table lists what `prepare` left out, repaired or found odd, with what was left out on
# top (empty for the embedded data). `clips.report` has every entry.

# %%
clips.report_table()

# %% [markdown]
# Do the splits share anything that would make a score meaningless: the same footage, a copy of a clip, a video, a
# person? A shared person is not a mistake where the official splits are like that (in iMiGUE every person in *val* is
# also in *train*), but such a score says nothing about unseen people.

# %%
clips.leakage()

# %% [markdown]
# ## Clips per class, and their lengths
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
# ## Missing key-points
# Share of frames in which a joint was not seen. Finger tips are missing most often, as with a real estimator; a column
# that is darker than the others is a person (or a camera) worth a look.

# %%
mg.if_possible(mg.figures.missing_joints, clips)

# %%
summary.joints.sort_values("all", ascending=False).head(8).round(1)

# %% [markdown]
# ## The clips
# A few of each class, with the skeleton. The left side, the right side and the middle have different colours; a joint
# that was not seen is not drawn (it is missing, not at coordinate 0).

# %% tags=["picture"]
test = clips.split(clips.shown_split)
mg.figures.contact_sheet(test, n=4)

# %% [markdown]
# Any clip, frame by frame: click into the player, then press space to play, the arrow keys to step through frames, `n`
# and `p` for the next and previous clip. Frames and skeleton are drawn together, so they cannot drift apart. (A static
# page shows a film strip instead.)

# %%
mg.widgets.ClipPlayer(test, test.ids[0])

# %% [markdown]
# ## Classes with similar poses
# The mean posture of each class: every joint relative to the centre of the body, over all frames. The two classes with
# the closest postures can hardly be distinguished by the positions of the joints; what remains is how they move, and
# what the picture shows.

# %%
from itertools import combinations

import numpy as np
import pandas as pd
from IPython.display import display

root = clips.skeleton.root


def posture(clip_id):
    """Mean position of each joint relative to the centre of the body, in units of its extent."""
    xy = clips.pose(clip_id)[0, ..., :2]
    flat = (xy - xy[:, [root]]).reshape(len(xy), -1)
    mean = pd.DataFrame(flat).mean()  # joints that were not seen are left out
    return mean / mean.std()


posed = test.table[test.table["persons"] > 0]  # a clip without a pose has no posture
labels = [clips.classes.names[k] for k in posed["label"]]
postures = pd.DataFrame([posture(clip_id) for clip_id in posed["clip_id"]], labels).groupby(level=0).mean()
apart = pd.Series(
    {
        (a, b): ((postures.loc[a] - postures.loc[b]) ** 2).mean() ** 0.5
        for a, b in combinations(postures.index, 2)
    },
    dtype=float,
)
closest = apart.nsmallest(5)
closest.round(3) if len(closest) else "No two classes have poses to compare."

# %% [markdown]
# One clip of each of the two closest classes. (In the embedded data the hand is behind the body in *scratch back* and
# in front of it in *touch neck*; *bite nails* and *touch chin* share a place.) To see two others, name them here.

# %%
for name in closest.index[0] if len(closest) else ():
    display(mg.figures.film_strip(clips, posed["clip_id"].iloc[labels.index(name)]))

# %% [markdown]
# ## How fast the hands move
# Median step of wrists and fingers between frames, in pixels. Two classes with the same posture may differ in tempo.

# %%
words = ("wrist", "hand", "tip")
hands = [i for i, joint in enumerate(clips.skeleton.joints) if any(word in joint for word in words)]


def tempo(clip_id):
    """Median step of the hand joints from frame to frame, in pixels; NaN where none is seen twice."""
    steps = np.diff(clips.pose(clip_id)[:, :, hands, :2], axis=1)
    return pd.Series(np.linalg.norm(steps, axis=-1).ravel()).median()


tempi = pd.Series([tempo(clip_id) for clip_id in posed["clip_id"]], labels, dtype=float)
tempi.groupby(level=0, sort=False).quantile([0.25, 0.5, 0.75]).unstack().round(2)

# %% [markdown]
# ## Other splits of the same clips
# K folds over people (over videos where a dataset does not name subjects): nobody is on both sides, each class is spread
# as evenly as that allows, and no video is copied (each fold is a small table in the folder). Train on one with
# `mg.train(folds[0], recipe, "runs/fold0")`.

# %%
used = [name for name in clips.splits if name not in (clips.shown_split, "unused")] or clips.splits
pool = clips.table[clips.table["split"].isin(used)]
known = [by for by in ("subject", "source") if "" not in set(pool[by]) and pool[by].nunique() >= 3]
spread = (pool["label"].value_counts() >= 3).any()  # else no class has a clip for each fold
folds = mg.if_possible(clips.folds, 3, group=known[0] if known else "clip", stratify=spread)
folds

# %% [markdown]
# ## Your own data
# The folders of iMiGUE, SMG and MA-52 as distributed, a PYSKL annotation file with a folder of videos, or one folder of
# videos per class become a clip folder with one call, or with `mgkit prepare imigue SOURCE data/imigue` in a shell:
#
# ```python
# clips = mg.prepare("imigue", "where/you/unpacked/it", "data/imigue")
# clips = mg.prepare("pyskl", "annotations.pkl", "data/mine", videos="videos", skeleton="coco17")
# ```
#
# [docs/datasets.md](../docs/datasets.md) describes every layout and option, and how to add a dataset. The call can be
# interrupted and repeated; a finished folder is only opened, and when a source file has changed, only what depends on it
# is made again. `mgkit show data/mine --check` reads every file and compares it with what was written.
# Next: [3 · Train](03_train.ipynb).
