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
# # 3 · Train
#
# A recipe holds every setting; a run folder holds everything a training produced. Change a setting, train into another
# folder, compare.
#
# *Time:* about a minute on two CPU cores with the few epochs below. With a GPU nothing changes but the speed.

# %% tags=["parameters"]
DATA = "../data/demo"
RUN = "../runs/notebook"
EPOCHS = 2  # few, so that this page runs quickly; `make demo` uses the recipe's own

# %%
import dataclasses

import pandas as pd

import mgkit as mg

clips = mg.demo_clips(DATA)

# %% [markdown]
# ## Recipes
# `mg.recipes.paper()` is the paper's staged training at full size: the RGB branch, the pose branch, both merged and
# trained on. `mg.recipes.demo()` is the same code made narrow. What differs between them:

# %%
paper, demo = mg.recipes.paper(), mg.recipes.demo(epochs=EPOCHS)
pd.Series(mg.recipes.differences(demo, paper)).str.split(": ", expand=True).rename(
    columns={0: "setting", 1: "paper -> demo"}
)

# %% [markdown]
# ## Train
# The branches get run folders of their own under `stages/`. Stop it with the stop button at any time: the same call
# goes on where it stopped, and ends with the same weights.

# %%
run = mg.train(clips, demo, RUN)
run

# %%
run.history()[
    ["epoch", "loss", "loss_ce_rgb", "loss_ce_pose", "loss_pr_rgb", "loss_pr_pose", "val_top1_fused"]
].round(3)

# %%
mg.figures.training_curves(run)

# %% [markdown]
# ## Train, and close the lid
# `mg.launch` takes the same arguments and returns at once: the training runs in a process of its own, which the kernel
# may leave. The monitor reads the run folder only, so it shows a training from anywhere that sees the folder. Here the
# pose branch alone.

# %%
job = mg.launch(clips, demo.stages[1], f"{RUN}-launched")
job

# %%
mg.widgets.TrainingMonitor(job)

# %% [markdown]
# Now restart the kernel, or close the page: it goes on. Later, in a new kernel, run the first cells again and find it
# by its folder. `mgkit status` and `mgkit stop` do the same in a shell.

# %%
job = mg.attach(f"{RUN}-launched")
job.look()

# %% [markdown]
# Stop it, here or with the button: it ends after the step it is in. Resume goes on from its last checkpoint.

# %%
if job.look().here:
    print(job.stop())
if job.state != "finished":
    job.resume()
job.wait().status()["state"]

# %% [markdown]
# ## Test
# One clip a video here; the paper tests with ten (`views=10`), and `flip=True` adds mirrored twins. Predictions and
# embeddings go into the run folder, keyed by clip id.

# %%
predictions = mg.test(run, "test", views=1)
predictions.frame().head()

# %%
mg.evaluate(run, "test").round(3)

# %% [markdown]
# ## Change something
# `dataclasses.replace` or a keyword changes a recipe; each needs a folder of its own (a folder with another recipe in it
# is refused, with the differences). For instance without the prototypes, or with attention over time:
#
# ```python
# mg.train(clips, mg.recipes.demo(prototypes=False), "../runs/no-prototypes")
# mg.train(clips, mg.recipes.demo(fusion="time"), "../runs/fusion-time")
# ```

# %%
mg.recipes.differences(dataclasses.replace(demo, alpha=0.5), demo)

# %% [markdown]
# The same from a shell, for a cluster queue: `mgkit train data/demo runs/mine --recipe demo --set alpha=0.5`.
# Next: [4 · Prototypes and ambiguous samples](04_prototypes.ipynb).
