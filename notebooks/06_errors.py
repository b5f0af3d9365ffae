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
# # 6 · Errors
#
# ![Errors, their clips and notes in one window](../docs/images/notebooks/06_errors.png)
#
# From a number to the clips behind it, to a list of clips whose label is wrong, to a confusion matrix for the paper.
# Nothing here needs to be read as code: choose *Run > Run All Cells*, then click.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo` | a minute | shorter (not measured) |

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
VENUE = "cvpr"  # of the PDF at the end: one of mg.figures.VENUES

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = "test" if "test" in run.splits() else run.splits()[0]
mg.analysis.confusions(run.predictions(split), 5)

# %% [markdown]
# ## Look, and tag
# 1. Click a cell of the matrix, a bar or a point of the map, or narrow the filters: the gallery shows those clips.
# 2. Click a clip, or go to the next and the previous error by key. It plays beside the nearest clip that was got right,
#    with what each pathway saw and said.
# 3. Tag it: *label wrong*, *ambiguous*, *occluded*, *bad pose*, or a few words of your own. Each tag is saved at once.

# %%
mg.widgets.ErrorExplorer(run, split)

# %% [markdown]
# ## What was tagged
# Tags lie in `review.csv` in the run folder, are there again when this page is opened next time, and open in any
# spreadsheet. The table is empty until something is tagged: run the cell again then.

# %%
notes = run.notes()
notes

# %% [markdown]
# ## Where to look first
# **Labels that are likely to be wrong**, the likeliest first: the network is sure of another class, by confident
# learning. It is either a wrong label or a mistake of the network, so look before you tag. (The labels of the embedded
# data are right by construction: all that is listed there are mistakes.)

# %%
suspects = mg.analysis.label_errors(run, split)
suspects.head(10).round(3)

# %% [markdown]
# These clips, one after the other beside the nearest one that was got right: `n` and `p` go through them.

# %%
suspicious = list(suspects["clip_id"][:50]) or [run.predictions(split).clip_ids[0]]
mg.widgets.ClipPlayer(run, split=split, clip_ids=suspicious, compare="nearest_correct")

# %% [markdown]
# **Clips between two classes**, by probability and by distance to the prototypes. `disagree`: RGB and pose do not say
# the same. Many of one pair say that the two classes are hard to tell apart, by people too: tag those *ambiguous*.

# %%
ambiguous = mg.analysis.ambiguous(run, split)
ambiguous[["clip_id", "true", "confused_with", "ambiguity", "margin", "disagree"]].head(10).round(3)

# %% [markdown]
# ## Why it decided so
# Gradients of the answer say which frames and joints it rests on. They are about the network and not about the person:
# a joint that stands out in every class may be one that gives the dataset away.

# %%
saliency = mg.explain(run, split)
saliency

# %%
mg.figures.film_strip(clips, ambiguous["clip_id"].iloc[0])

# %% [markdown]
# ## A figure for the paper
# PDF with the exact width of the venue and embedded fonts; beside it the PNG and the numbers as CSV.

# %% tags=["picture"]
figure = mg.figures.confusion(run, split, venue=VENUE)
figure.save(run.figures / "confusion")
figure

# %%
sorted(path.as_posix() for path in run.figures.glob("confusion.*"))

# %% [markdown]
# ## Train on what was reviewed
# `clips.reviewed(notes)` leaves out what was tagged. Notes on *test* clips change what is measured: report on the
# published labels, and say so if you do not. To clean the training clips, test the folds of
# [2 · Look at the data](02_look_at_the_data.ipynb) and review each.
#
# ```python
# cleaner = clips.reviewed(run.notes())
# again = mg.train(cleaner, mg.recipes.demo(), mg.run_folder(clips, "reviewed"))
# ```
#
# **Next.** [7 · Paper figures](07_paper_figures.ipynb) for the rest of the figures,
# [8 · Compare runs](08_compare_runs.ipynb) to see which clips a change fixed and which it broke.
