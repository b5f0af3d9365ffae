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
# # 5 · Prototypes and ambiguous samples
#
# ![Embeddings of the test clips around their prototypes](../docs/images/notebooks/05_prototypes.png)
#
# Prototypical refinement keeps one prototype per class, the moving mean of the embeddings of its true positives (TP),
# and calibrates ambiguous clips against it: false negatives (FN, clips of the class taken for another) and false
# positives (FP, clips of another class taken for it). This notebook shows where they are in the embedding and what is
# in these clips.
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
CLASS = None  # the class to look at; None = the one most often taken for another

# %%
import pandas as pd

clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = run.shown_split
predictions = run.predictions(split)
confused = mg.analysis.confusions(predictions, 1)["true"]
CLASS = CLASS or (confused.iloc[0] if len(confused) else run.classes.names[predictions.labels[0]])
# Imported scores have no pathways, and neither embeddings nor prototypes: the cells about those say so.
first, last = (run.pathways[0], run.pathways[-1]) if run.pathways else (None, None)
CLASS

# %% [markdown]
# ## The map
# Left: embeddings of the test clips, with the prototypes as stars. Right: TP, FN and FP of one class. The map keeps
# neighbours together; distances between distant clusters, and the sizes of clusters, mean little.

# %% tags=["picture"]
mg.if_possible(mg.figures.prototype_map, run, split, last, highlight=CLASS)

# %% [markdown]
# The same map, interactive, with a player below. Click a point, or draw a loop around the FN inside another class, and
# look at these clips. Colour by class, subject, confidence or distance to the clip's own prototype; *paths* shows how
# the prototypes moved over the epochs.

# %%
chosen = mg.widgets.Selection()
mg.if_possible(
    mg.widgets.PrototypeMap, run, split, pathway=last, colour="kind", highlight=CLASS, selection=chosen
)

# %%
mg.widgets.ClipPlayer(run, split=split, clips=clips, selection=chosen)

# %% [markdown]
# The same class in the RGB pathway. Where two classes overlap in one pathway but not in the other, fusion can help.

# %%
mg.if_possible(mg.figures.prototype_map, run, split, first, highlight=CLASS)

# %% [markdown]
# ## TP, FN and FP of every class, by pathway

# %%
names = run.classes.names
kinds = {
    (pathway, kind): [int((predictions.kinds(pathway, k) == kind).sum()) for k in range(len(names))]
    for pathway in predictions.outputs
    for kind in ("TP", "FN", "FP")
}
pd.DataFrame(kinds, index=names)

# %% [markdown]
# ## What the refinement did
# Per epoch: the shares of true positives on which the terms for false negatives and false positives act, and on the
# validation clips the accuracy of the nearest prototype alone beside that of the classifier. Where the terms act on few
# clips they can change little; where `nearest` is never above `classifier`, rectification cannot help.

# %%
acted = mg.if_possible(mg.analysis.refinement_history, run)
acted.round(2).tail(12)

# %% [markdown]
# ## Similarity of the prototypes
# Cosine similarity of the pose prototypes. Classes with similar prototypes are the ones to watch.

# %%
mg.if_possible(mg.figures.prototype_similarity, run, last, split=split)

# %% [markdown]
# ## The most ambiguous clips
# Sorted by `ambiguity`: 1 is exactly between two classes. `margin` is the distance to the nearest other prototype minus
# that to the clip's own; negative means that the clip is closer to another class.

# %%
ambiguous = mg.analysis.ambiguous(run, split)
ambiguous.head(8)

# %% [markdown]
# The most ambiguous one, frame by frame:

# %%
mg.figures.film_strip(clips, ambiguous["clip_id"].iloc[0])

# %% [markdown]
# ## How the prototypes moved
# Similarity of each pose prototype to its final position, by epoch of the joint stage: they settle early if the
# branches are good before they are joined.


# %%
def settling():
    """(epochs, classes) similarity of each prototype to its last position."""
    history = run.prototypes()
    vectors = history.vectors[last]
    vectors = vectors / ((vectors**2).sum(-1, keepdims=True) ** 0.5)
    return pd.DataFrame(
        (vectors * vectors[-1]).sum(-1), index=pd.Index(history.epochs, name="epoch"), columns=names
    ).round(3)


mg.if_possible(settling)

# %% [markdown]
# ## Two trainings on one map
# One joint fit of both runs, so that the panels have the same axes: here the branch alone and the same pathway within
# the whole network, where the training began with branches. For a paper, `before` is a run with `prototypes=False` and
# `after` one with prototypes.

# %%
mg.if_possible(
    lambda: mg.figures.refinement_maps(
        run.stage(last), run, split, last, highlight=CLASS, labels=("branch alone", "within the whole")
    )
)

# %% [markdown]
# **Next.** If two prototypes are similar, or the FN of a class lie within another one, [6 · Errors](06_errors.ipynb)
# shows the clips. [9 · Does it help?](09_ablation.ipynb) tests whether pulling clips to their prototypes helps at all.
