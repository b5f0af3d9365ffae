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
# # 13 · Transfer
#
# ![Top-1 from nothing and from a run on other classes and other joints, over seeds](../docs/images/notebooks/13_transfer.png)
#
# Train on one clip folder, start on another with other classes and other joints, and see whether it was worth it. Here
# the two folders are halves of one: every second class with a few joints of the arms, then the other classes with all.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | once the runs are there | seconds | the same: nothing is trained |
# | training them | a minute | shorter (not measured) |

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
# **Your own data:** two folders that are already prepared need none of the next cells: `first_clips` and `clips` are
# `mg.load_clips(...)` of each. For a start on videos use a recipe of frames and `start={"rgb": ...}`.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is missing
RUN = None  # folder of the halves and runs; None = one next to the run that belongs to DATA
SEEDS = 2  # five or more for intervals worth having
STEPS = 75  # of each training
FEW = 4  # training clips per class of the second half, as if they had just been labelled

# %%
import json
import pickle
from pathlib import Path

import numpy as np

whole = mg.open_clips(DATA)
folder = Path(RUN or f"{mg.run_folder(whole)}-transfer")

# %% [markdown]
# ## Two halves
# Each is written as an annotation file of key-points, some of the classes on some of the joints, and prepared like any
# other dataset. Of the second half a few training clips are kept.


# %%
def half(number, joints):
    skeleton = whole.skeleton.part(joints)
    kept, every = whole.skeleton.positions(skeleton), whole.classes.names
    names = every[number::2] if len(every) > 3 else every
    annotations, splits = [], {}
    for row in whole.table.itertuples():
        name = whole.classes.names[row.label]
        if name in names:
            pose = whole.pose(row.clip_id)[:, :, kept]  # (M, T, V, 3): x, y, score
            xy, score = np.nan_to_num(pose[..., :2]), np.nan_to_num(pose[..., 2])
            about = {"frame_dir": row.clip_id, "label": names.index(name), "total_frames": pose.shape[1]}
            about |= {"img_shape": (int(row.height), int(row.width)), "keypoint": xy, "keypoint_score": score}
            annotations.append(about)
            splits.setdefault(row.split, []).append(row.clip_id)
    file = folder / f"half{number}.pkl"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps({"split": splits, "annotations": annotations}))
    meta = {"classes": names, "joints": skeleton.joints, "skeleton": skeleton.edges}
    file.with_suffix(".meta.json").write_text(json.dumps(meta))
    return mg.prepare("pyskl", file, folder / f"half{number}", workers=1, progress=False)


arms = ("*neck", "*shoulder", "*elbow", "*wrist") if len(whole.skeleton) > 9 else ()
first_clips = mg.if_possible(half, 0, arms)


def few(clips):
    place = clips.table.groupby(["split", "label"]).cumcount()  # of a clip among those of its class and split
    return clips.select(clips.table.loc[(clips.table["split"] != "train") | (place < FEW), "clip_id"])


clips = mg.if_possible(few, mg.if_possible(half, 1, ()))


def named(clips):
    return f"{len(clips.skeleton)} joints; {', '.join(clips.classes.names[:9])}"


mg.if_possible(lambda one, other: print(f"first: {named(one)}\nthen: {named(other)}"), first_clips, clips)

# %% [markdown]
# ## The first training

# %%
recipe = mg.recipes.narrow(mg.recipes.stgcnpp(epochs=1, steps=STEPS, pose_frames=16, keep="last"))
options = {"val_split": None, "progress": False}
first = mg.if_possible(mg.train, first_clips, recipe, folder / "first", **options)

# %% [markdown]
# ## The same recipe, from nothing and from there
# `start` names the run, and nothing else has to be said: joints and classes are matched by name. A known joint brings its
# normalisation and the edges it has learnt to other known joints; a class that is known brings its row of the classifier
# (none is, here); the layers that depend on neither are copied as they are.

# %%
rows = {"from nothing": recipe, "transferred": recipe}
study = mg.if_possible(
    mg.study, clips, rows, folder / "study", seeds=SEEDS, split=whole.shown_split,
    start={"transferred": {"pose": first}}, **options,
)  # fmt: skip
study.table().drop(columns="top1_of_seeds").T

# %% tags=["picture"]
study.figure()

# %% [markdown]
# What was copied, and what is new, is in the run:


# %%
def matched(run):
    print((run.root / "start.txt").read_text().partition("\n")[2])


mg.if_possible(matched, study.runs("transferred")[0])

# %% [markdown]
# Two seeds on made clips show how, not how much: with two the interval is wide, and with all training clips and twice
# the steps there is nothing left to gain here. On real clips it was the same: a gain with few labels or few steps, and none
# with all labels and a long training ([docs/learning.md](../docs/learning.md), over seeds). On yours, the same two rows
# with five seeds decide.
