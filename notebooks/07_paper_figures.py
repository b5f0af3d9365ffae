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
# # 7 · Figures for the paper
#
# ![A figure as it stands in the paper](../docs/images/notebooks/07_paper_figures.png)
#
# Each figure has the exact width of the venue, embedded TrueType fonts, colours that colour-blind readers can tell
# apart, and the numbers behind it as CSV. Saving twice gives the same bytes.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo` | half a minute, the first map included | the same: nothing is computed on it |

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
# **Your own data:** change `DATA`.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is not there
RUN = None  # a run folder; None = the one that belongs to DATA
VENUE = "cvpr"  # one of mg.figures.VENUES

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
mg.figures.VENUES

# %%
mg.figures.training_curves(run, venue=VENUE)

# %%
mg.figures.confusion(run, "test", venue=VENUE)

# %% [markdown]
# Per-class recall of RGB, pose and fused, with Wilson intervals: with few clips a class they are wide, and bars without
# them mislead.

# %% tags=["picture"]
mg.figures.class_accuracy(run, "test", venue=VENUE)

# %%
mg.figures.prototype_map(run, "test", venue=VENUE)

# %% [markdown]
# How alike the prototypes are, and whether classes with close prototypes are taken for each other.

# %%
mg.figures.prototype_similarity(run, "rgb", venue=VENUE)

# %% [markdown]
# `save` writes PDF, PNG and CSV side by side; `draw_figures` writes the whole set into the run folder.

# %%
figure = mg.figures.class_accuracy(run, "test", venue="ieee")
figure.save(run.figures / "class_accuracy_ieee")
figure.data.head()

# %%
paths = mg.figures.draw_figures(run, clips, "test", venue=VENUE)
sorted(path.name for path in paths if path.suffix == ".pdf")
