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
# # 12 · Your own videos
#
# ![Frames of a window of a new recording with its skeleton, and the most probable classes](../docs/images/notebooks/12_your_own_videos.png)
#
# From a folder of recordings to the gestures of a new one: key-points, clips, a small network trained on what somebody
# has coded, and a first answer for a recording that nobody has.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | drawn interviews | a minute | shorter (not measured) |
# | recordings of people | + 0.07 s a frame of each core for key-points | the same: they are estimated on the processor |

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
# **Your own recordings:** change `DATA`, and name a new one in `NEW`. In the folder is a table `segments.csv` of what was
# coded, one row per gesture:
#
#     video,start,end,class,subject,split
#     day1/anna,12.4,13.9,touch chin,anna,train
#     day2/ben,,,,ben,val
#
# A video is its path in the folder without the suffix. Start and end are seconds, as a player shows them; `day2/ben` has
# no gesture. Keep each person in one split. Phone videos are fine: turned ones, those of variable frame rate, any size
# and format.

# %% tags=["parameters"]
DATA = "../data/drawn-interviews"  # a folder of videos; drawn ones are made if it has this name
NEW = None  # a recording that nobody has coded; None = the drawn one
RUN = None  # a run folder; None = the one that belongs to DATA
STEPS = 300  # of the training, for a first look; 2000 for a result
MINUTES = 1.5  # of each drawn interview

# %% [markdown]
# ## People are in these videos
# From here on heads are blurred in every picture that this page shows or saves; leave the line out where that is not
# needed. [What is kept where](../docs/faces.md) says what a saved notebook contains.

# %%
mg.set_up_notebook(blur_faces=True)

# %% [markdown]
# ## Key-points
# MediaPipe finds 33 joints of the body and 21 of each hand. It is an extra, `pip install 'mgkit[pose]'`, and
# `mg.pose.fetch()` gets its weights once. It does not know drawn people: for these a stand-in gives simulated
# key-points. If you stop the cell, it goes on where it was; the report says where nobody was seen, how often hands were,
# and what was odd about the files. Two people in the picture: `person="left"` or `"right"`.

# %%
from pathlib import Path

drawn = Path(DATA).name == "drawn-interviews"
if drawn:
    mg.demo.draw_interviews(DATA, train=5, minutes=MINUTES)
    new = mg.demo.draw_interview(f"{DATA}-new.mp4", minutes=MINUTES, seed=99)
    NEW, estimator = new.video, mg.demo.Estimator(DATA)
else:
    mg.pose.fetch()
    estimator = "holistic"

poses = mg.pose.estimate(DATA, f"{DATA}-poses", estimator)
poses.report_table()

# %% [markdown]
# Look at some of them before you go on: a network cannot learn from a skeleton that is beside the person.

# %%
mg.widgets.ClipPlayer(poses.clips())

# %% [markdown]
# ## Clips
# Each row of the table becomes a clip, cropped to the person. `background=0.5` also cuts, for every two gestures, one
# clip in which nothing is coded: a network that has only seen gestures makes one of every idle second.

# %%
clips = mg.prepare("segments", DATA, f"{DATA}-clips", poses=f"{DATA}-poses", background=0.5)
clips

# %%
clips.report_table()

# %%
mg.figures.contact_sheet(clips.split("train"), n=4)

# %% [markdown]
# ## A first training
# `small_skeleton` is a narrow ST-GCN++ on key-points of the upper body, for a few hundred clips. 300 steps show that
# everything works, and no more: the recipe takes 2000. The last rows of the table leave the background out: how well
# gestures are told apart.

# %%
run = mg.train(clips, mg.recipes.small_skeleton(steps=STEPS), RUN or mg.run_folder(clips), val_split="val")
mg.test(run, "val")
mg.evaluate(run, "val").round(3)

# %% [markdown]
# ## A new recording
# A long video is answered in windows of the length of the training clips. Key-points are estimated on the way where
# there are none. What was said is saved beside the video, and resumes if it is stopped.

# %%
said = mg.predict(run, NEW, estimator=estimator)
said

# %% [markdown]
# The window in which it is surest of a gesture:

# %% tags=["picture"]
gesture = said.scores().copy()
gesture[:, clips.classes.background] = 0
surest = int(gesture.max(axis=1).argmax())
mg.figures.prediction(said, surest)

# %%
mg.widgets.ClipPlayer(said.clips([surest]))

# %% [markdown]
# ## Its segments
# From which probability on is it a gesture? That is chosen on the validation videos, per class, never on the new one.
# `as_played` gives the seconds of a player, also where the frame rate varies.

# %%
truth = mg.spotting.truth(clips.split("val"))
windows = [
    mg.predict(run, f"{DATA}/{video}", poses=f"{DATA}-poses").windows(video=video)
    for video in clips.split("val").table["source"].unique()
]
chosen = mg.spotting.choose(windows, truth, mg.spotting.Rule.of(clips.classes), "val")
chosen

# %%
answers = said.as_played(chosen.rule.segments(said.windows()))
answers.round(2)

# %% [markdown]
# Of the drawn recording the truth is known. F1 counts a segment as found from an intersection over union (`iou`) on;
# F1 around 0.4 is what is published for real interviews; so short a training finds less. More of what is measured:
# [spotting](../docs/spotting.md).

# %%
if drawn:
    known = new.segments.assign(video=said.name)
    print(mg.spotting.f1(known, answers).round(2).to_string(index=False))

# %% [markdown]
# ## Then again, with more
# Correct the segments in a spreadsheet, copy the recording into the folder and the rows into `segments.csv`, and run
# this page again with another `RUN`: what is there already is neither estimated nor cut again. That loop makes a small
# lab's network good.

# %%
answers.to_csv(f"{DATA}-answers.csv", index=False)

# %% [markdown]
# **Next.** [2 · Look at the data](02_look_at_the_data.ipynb) and [6 · Errors](06_errors.ipynb) with `DATA` set to the
# clips made here; [key-points](../docs/poses.md), and what estimators leave of small motions; [new clips and
# videos](../docs/predict.md).
