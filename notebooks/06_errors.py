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
# ![The error explorer: confusion matrix, the clips behind a cell, one of them next to the nearest correct clip, and tags](../docs/images/notebooks/06_errors.png)
#
# From a number to the clips behind it, to a list of clips with wrong labels, to a confusion matrix for the paper.
# You do not need to read the code: choose *Run > Run All Cells*, wait half a minute, then click.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo` | half a minute | shorter (not measured) |

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
SPLIT = None  # the split to look at; None = the test clips
VENUE = "cvpr"  # for the PDF: one of mg.figures.VENUES

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = SPLIT or run.shown_split
mg.analysis.confusions(run.predictions(split), 5)

# %% [markdown]
# ## Look and tag
# 1. **Choose.** Pick a class in the bar above and *FN* (missed), *FP* (other clips predicted as this class) or *Wrong*
#    (both); or click a cell of the matrix. The pictures in the middle are those clips.
# 2. **Look.** Click a picture, or use the keys `n` (next) and `p` (previous). The clip plays (space) next to the nearest
#    correctly classified clip; the predictions of each pathway are below.
# 3. **Tag.** Is the label wrong? Press *label wrong* (key `1`) and choose the correct class; or *ambiguous*, *occluded*,
#    *bad pose*, or write a comment. Everything is saved at once.
# 4. **Export.** The tab *Notes* lists all tagged clips; its button *Download CSV* saves the list for a spreadsheet.

# %%
mg.widgets.ErrorExplorer(run, split, clips=clips)

# %% [markdown]
# ## Your tags
# The list of the tab *Notes* as a table. It is saved in `review.csv` in the run folder and is still there when you open
# this page again. Empty? Tag a clip above, click into the next cell and press Shift + Enter.

# %%
notes = run.notes()
notes

# %% [markdown]
# ## A figure for the paper
# A PDF with the exact width of the venue and embedded fonts, together with a PNG and the numbers as CSV. Click a name
# below the figure to open the file.

# %%
from IPython.display import Markdown, display

figure = mg.figures.confusion(run, split, venue=VENUE)
files = [path.as_posix() for path in figure.save(run.figures / "confusion")]
display(figure, Markdown("  \n".join(f"[{name}](<{name}>)" for name in files)))

# %% [markdown]
# ## Labels that are probably wrong
# The network is confident of another class than the label (confident learning), the most likely first. Each clip is
# either mislabelled or a mistake of the network, so look before you tag. (The labels of the embedded data are correct by
# construction: there, all are mistakes of the network.)

# %%
suspects = mg.analysis.label_errors(run, split)
suspects.head(10).round(3)

# %% [markdown]
# The same clips to look at and tag, in this order. (If there are none, all wrong clips.)

# %%
suspected = mg.widgets.Selection(suspects["clip_id"], "labels that are probably wrong")
mg.widgets.ErrorExplorer(run, split, clips=clips, selection=suspected, views=["notes", "matrix"])

# %% [markdown]
# ## Clips between two classes
# By probability and by distance to the prototypes. `disagree`: RGB and pose predict different classes. If one pair
# appears often, its classes are hard to tell apart, for people too: tag these clips *ambiguous*.

# %%
ambiguous = mg.analysis.ambiguous(run, split)
ambiguous[["clip_id", "true", "confused_with", "ambiguity", "margin", "disagree"]].head(10).round(3)

# %% [markdown]
# ## Why did the network decide so?
# Gradients of the prediction show which frames and joints it depends on. They describe the network, not the person: a
# joint that stands out in every class may reflect a bias of the dataset. From now on the button *Saliency* in the
# explorers above works, too.

# %%
saliency = mg.if_possible(mg.explain, run, split, clip_ids=ambiguous["clip_id"].head(200))
saliency

# %% [markdown]
# The most ambiguous clips, highlighted where the evidence for the decision is; the bars show it over time.

# %%
shown = list(ambiguous["clip_id"].head(50))
mg.widgets.ClipPlayer(run, split=split, clips=clips, clip_ids=shown, saliency=bool(saliency))

# %%
mg.figures.film_strip(clips, shown[0], saliency=saliency or None)

# %% [markdown]
# Joint importance per class:

# %%
mg.if_possible(mg.figures.joint_importance, run, split)

# %% [markdown]
# ## Train on the reviewed clips
# Clips tagged *label wrong* are left out, or get the class you chose. Labels of *test* clips do not change: report
# results on the published labels. To clean the training clips, use the folds of
# [2 · Look at the data](02_look_at_the_data.ipynb): train on the others, test on one, set `SPLIT`, tag.

# %%
try:
    cleaner = clips.reviewed(notes)
    print(f"Train on {cleaner}")
except mg.MgkitError as why:
    print(f"Nothing to retrain on yet: {why}")

# %% [markdown]
# These two lines then train on them in a separate process, which continues when this page is closed, and
# [8 · Compare runs](08_compare_runs.ipynb) shows which clips that fixed and which it broke:
#
# ```python
# job = mg.launch(cleaner, mg.recipes.demo(), mg.run_folder(clips, "reviewed"))
# mg.widgets.TrainingMonitor(job)
# ```
#
# **Next.** [7 · Paper figures](07_paper_figures.ipynb) for all other figures.
