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
# Most published mistakes of this field are data mistakes. Here are the clips as the network will see them: frames,
# skeletons, class counts, missing joints, and everything that was found odd.
#
# *Time:* a few seconds on the embedded data. **Your own data:** prepare it once (see the end), then change `DATA`.

# %% tags=["parameters"]
DATA = "../data/demo"

# %%
import numpy as np
import pandas as pd

import mgkit as mg

clips = mg.demo_clips(DATA)
clips

# %% [markdown]
# ## How many of each
# The classes are long-tailed, as in real recordings.

# %%
clips.summary()

# %% [markdown]
# ## One clip, frame by frame
# Joints of the left side, the right side and the middle have their own colours; a joint that was not seen is not
# drawn (it is missing, not at coordinate 0).

# %%
test = clips.split("test")


def first(name):
    """The first test clip of a class."""
    return test.table.loc[test.labels == clips.classes.index(name), "clip_id"].iloc[0]


mg.figures.film_strip(clips, first("touch chin"))

# %% [markdown]
# The same two places with another tempo, or another picture. *scratch back* has the hand behind the body where *touch
# neck* has it in front: the key-points cannot tell them apart, the picture can.

# %%
mg.figures.film_strip(clips, first("touch neck"))

# %%
mg.figures.film_strip(clips, first("scratch back"))

# %% [markdown]
# ## What the key-points miss
# Share of frames in which a joint was not seen, in per cent. Finger tips drop out most, as with a real estimator.

# %%
seen = np.concatenate([np.isfinite(clips.pose(i)[..., 2]).reshape(-1, len(clips.skeleton)) for i in test.ids])
missing = pd.Series(100 * (1 - seen.mean(0)), index=clips.skeleton.joints, name="not seen (%)")
missing.sort_values(ascending=False).head(8).round(1).to_frame()

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
# ## What was odd
# `prepare` drops nothing silently: whatever it repaired or left out stands in the report (empty here).

# %%
pd.DataFrame(clips.report, columns=["what", "clip_id", "detail"])

# %% [markdown]
# ## Your own data
# A PYSKL annotation file beside a folder of videos becomes a clip folder with one call, or with
# `mgkit prepare pyskl annotations.pkl data/mine --videos videos --skeleton coco17` in a shell:
#
# ```python
# clips = mg.prepare("pyskl", "annotations.pkl", "data/mine", videos="videos", skeleton="coco17")
# ```
#
# It can be interrupted and called again; a finished folder is only opened.
# Next: [3 · Train](03_train.ipynb).
