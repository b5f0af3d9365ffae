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
# Each figure has the exact width of the venue, embedded TrueType fonts, colours that are safe for colour-blind readers,
# and its numbers as CSV. Saving twice gives the same bytes.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo` | half a minute, including the first map | the same: nothing runs on it |

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
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is missing
RUN = None  # a run folder; None = the one that belongs to DATA
VENUE = "cvpr"  # one of mg.figures.VENUES

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = run.shown_split
pathway = run.pathways[-1] if run.pathways else None  # imported scores have none: the cells about them say so
mg.figures.VENUES

# %% [markdown]
# ## The network
# For the method section, drawn from the model itself: shapes are channels x frames x height x width.

# %%
mg.if_possible(lambda: mg.figures.architecture(mg.recipes.outline(run), venue=VENUE))

# %% [markdown]
# ## Training
# Losses by term, and accuracy. `training_curves([seed0, seed1, ...])` draws the mean over seeds with its interval, and
# a dict of such lists compares settings: show how much a curve varies with the seed before comparing two.

# %%
mg.if_possible(mg.figures.training_curves, run, venue=VENUE)

# %% [markdown]
# ## Results
# Rows are true classes, in per cent, so that rare classes count as much as frequent ones; `n` is the number of clips.

# %%
mg.figures.confusion(run, split, venue=VENUE)

# %% [markdown]
# Recall per class of RGB, pose and fused, with Wilson intervals: with few clips per class they are wide, and bars
# without them mislead.

# %% tags=["picture"]
mg.figures.class_accuracy(run, split, venue=VENUE)

# %% [markdown]
# ## Embeddings and prototypes
# UMAP keeps neighbours together; distances between clusters mean little, and the caption should say so.

# %%
mg.if_possible(mg.figures.prototype_map, run, split, pathway, venue=VENUE)

# %% [markdown]
# The similarity of the prototypes, and whether classes with similar prototypes are confused.

# %%
mg.if_possible(mg.figures.prototype_similarity, run, pathway, split=split, venue=VENUE)

# %% [markdown]
# ## A clip, and the evidence in it
# Frames of a clip with the skeleton, and the joints that the decision rests on (gradient times input: what the network
# is sensitive to, not why the person moved).

# %%
clip_id = mg.analysis.ambiguous(run, split)["clip_id"].iloc[0]
saliency = mg.if_possible(mg.explain, run, split, clip_ids=[clip_id])
mg.figures.film_strip(clips, clip_id, saliency=saliency or None, venue=VENUE)

# %% [markdown]
# ## Tables
# Booktabs LaTeX, Markdown and CSV of the same rows; the best value of a column is bold, with ties as printed.

# %%
results = mg.figures.table(mg.evaluate(run, split))
results

# %%
print(results.latex())

# %%
predictions = run.predictions(split)
mg.figures.table(
    mg.per_class(predictions.labels, predictions.predicted(), len(run.classes), run.classes.names)
)

# %% [markdown]
# `save` writes PDF, PNG and CSV next to each other; `draw_figures` writes all figures into the run folder.

# %%
figure = mg.figures.class_accuracy(run, split, venue="ieee")
figure.save(run.figures / "class_accuracy_ieee")
figure.data.head()

# %%
paths = mg.figures.draw_figures(run, clips, split, venue=VENUE)
sorted(path.name for path in paths if path.suffix == ".pdf")
