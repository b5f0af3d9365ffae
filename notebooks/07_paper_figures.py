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
# # 5 · Figures for the paper
#
# Each figure has the exact width of the venue, embedded TrueType fonts, colours that colour-blind readers can tell
# apart, and the numbers behind it as CSV. Saving twice gives the same bytes.
#
# *Time:* a few seconds with a trained run, half a minute for the first map.

# %% tags=["parameters"]
DATA = "../data/demo"
RUN = "../runs/demo"
VENUE = "cvpr"  # one of mg.figures.VENUES

# %%
import mgkit as mg

clips = mg.demo_clips(DATA)
run = mg.demo_run(RUN, clips)
mg.figures.VENUES

# %%
mg.figures.training_curves(run, venue=VENUE)

# %%
mg.figures.confusion(run, "test", venue=VENUE)

# %% [markdown]
# Per-class recall of RGB, pose and fused, with Wilson intervals: with few clips a class they are wide, and bars without
# them mislead.

# %%
mg.figures.class_accuracy(run, "test", venue=VENUE)

# %%
mg.figures.prototype_map(run, "test", venue=VENUE)

# %% [markdown]
# `save` writes PDF, PNG and CSV side by side; `draw_figures` writes the whole set into the run folder.

# %%
figure = mg.figures.class_accuracy(run, "test", venue="ieee")
figure.save(run.figures / "class_accuracy_ieee")
figure.data.head()

# %%
paths = mg.figures.draw_figures(run, clips, "test", venue=VENUE)
sorted(path.name for path in paths if path.suffix == ".pdf")
