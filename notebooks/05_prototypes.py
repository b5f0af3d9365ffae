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
# Prototypical refinement keeps one prototype a class, the moving mean of the embeddings of its true positives (TP), and
# calibrates the ambiguous ones against it: false negatives (FN, of the class but taken for another) and false positives
# (FP, of another class but taken for it). This page shows where they lie and which clips they are.
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
CLASS = None  # the class to look at; None = the one most often taken for another

# %%
import pandas as pd

clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = "test" if "test" in run.splits() else run.splits()[0]
predictions = run.predictions(split)
if CLASS is None:
    CLASS = mg.analysis.confusions(predictions, 1)["true"].iloc[0]
CLASS

# %% [markdown]
# ## The map
# Left: embeddings of the test clips with the prototypes as stars. Right: TP, FN and FP of one class. The map keeps
# neighbours together; distances between far clusters, and the size of clusters, mean little.

# %% tags=["picture"]
mg.figures.prototype_map(run, split, run.pathways[-1], highlight=CLASS)

# %% [markdown]
# The same map to click in, beside a player. Click a point, or draw a loop around the FN that lie in a foreign cloud, and
# see what is in these clips. Colour by class, subject, confidence or distance to the own prototype; *paths* shows how
# the prototypes moved over the epochs.

# %%
chosen = mg.widgets.Selection()
mg.widgets.PrototypeMap(
    run, split, pathway=run.pathways[-1], colour="kind", highlight=CLASS, selection=chosen
)

# %%
mg.widgets.ClipPlayer(run, split=split, clips=clips, selection=chosen)

# %% [markdown]
# The same class in the RGB pathway. Where one pathway has two classes in one cloud and the other has not, fusion has
# something to add.

# %%
mg.figures.prototype_map(run, split, run.pathways[0], highlight=CLASS)

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
# ## Which prototypes lie close
# Cosine similarity of the pose prototypes. Classes whose prototypes are close are the ones to watch.

# %%
similarity = mg.analysis.prototype_similarity(run, run.pathways[-1])[0]
pd.DataFrame(similarity, index=names, columns=names).round(2).style.background_gradient(
    "Blues", vmin=0, vmax=1
).format("{:.2f}")

# %% [markdown]
# ## The most ambiguous clips
# Sorted by `ambiguity`: 1 is right between two classes. `margin` is the distance to the nearest other prototype minus
# that to the own one; negative means that the clip lies closer to another class.

# %%
ambiguous = mg.analysis.ambiguous(run, split)
ambiguous.head(8)

# %% [markdown]
# The most ambiguous one, frame by frame:

# %%
mg.figures.film_strip(clips, ambiguous["clip_id"].iloc[0])

# %% [markdown]
# ## How the prototypes moved
# Similarity of each pose prototype to where it ended, by epoch of the joint stage: they settle when the branches are
# good before the merge.

# %%
history = run.prototypes()
vectors = history.vectors[run.pathways[-1]]
vectors = vectors / ((vectors**2).sum(-1, keepdims=True) ** 0.5)
pd.DataFrame(
    (vectors * vectors[-1]).sum(-1), index=pd.Index(history.epochs, name="epoch"), columns=names
).round(3)

# %% [markdown]
# ## Two trainings on one map
# One joint fit over both runs, so that the panels have the same axes: here the branch alone and the same pathway within
# the whole. For a paper, `before` is a run with `prototypes=False` and `after` one with them.

# %%
pathway = run.pathways[-1]
alone = run.stage(pathway) if pathway in run.stages() else run
mg.figures.refinement_maps(
    alone, run, split, pathway, highlight=CLASS, labels=("branch alone", "within the whole")
) if split in alone.splits() else "test the branch as well to see both"

# %% [markdown]
# **Next.** Two prototypes close to each other, or a class whose FN lie in another cloud: [6 · Errors](06_errors.ipynb)
# shows the clips. Whether pulling clips to their prototypes helps at all: [9 · Does it help?](09_ablation.ipynb).
