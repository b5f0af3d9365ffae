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
# ![The explorer: what is confused, the clips behind it, one of them beside the nearest that was got right, and tags](../docs/images/notebooks/06_errors.png)
#
# From a number to the clips behind it, to a list of clips whose label is wrong, to a confusion matrix for the paper.
# Nothing here needs to be read as code: choose *Run > Run All Cells*, wait a minute, then click.
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
SPLIT = None  # whose clips to look at; None = the test clips
VENUE = "cvpr"  # of the PDF: one of mg.figures.VENUES

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = SPLIT or ("test" if "test" in run.splits() else run.splits()[0])
mg.analysis.confusions(run.predictions(split), 5)

# %% [markdown]
# ## Look, and tag
# 1. **Choose.** Pick a class in the bar above and *FN* (missed), *FP* (wrongly taken for it) or *Wrong* (both); or click
#    a cell of the matrix. The pictures in the middle are those clips.
# 2. **Look.** Click a picture, or go on with the keys `n` and `p`. The clip plays (space) beside the nearest clip that
#    was got right; below stands what each pathway said.
# 3. **Tag.** Is the label wrong? Press *label wrong* (key `1`) and choose the right class; *ambiguous*, *occluded*,
#    *bad pose*, or a few words of your own. It is saved at once.
# 4. **Take it along.** The tab *Notes* lists what was tagged; *Download CSV* there saves the list for a spreadsheet.

# %%
mg.widgets.ErrorExplorer(run, split)

# %% [markdown]
# ## What was tagged
# The list of the tab *Notes* as a table. It is kept in `review.csv` in the run folder and is there again when this page
# is opened next time. Empty? Tag a clip above, click into the next cell and press Shift + Enter.

# %%
notes = run.notes()
notes

# %% [markdown]
# ## A figure for the paper
# PDF with the exact width of the venue and embedded fonts; beside it a PNG and the numbers as CSV. Click a name below
# the figure to open the file.

# %%
from IPython.display import Markdown, display

figure = mg.figures.confusion(run, split, venue=VENUE)
files = [path.as_posix() for path in figure.save(run.figures / "confusion")]
display(figure, Markdown("  \n".join(f"[{name}](<{name}>)" for name in files)))

# %% [markdown]
# ## Labels that are likely to be wrong
# The network is sure of another class than the label, by confident learning; the likeliest first. Each is either a
# wrong label or a mistake of the network, so look before you tag. (The labels of the embedded data are right by
# construction: what is listed there are mistakes.)

# %%
suspects = mg.analysis.label_errors(run, split)
suspects.head(10).round(3)

# %% [markdown]
# The same clips to look at and tag, in this order. (Where none is suspected, all wrong clips.)

# %%
suspected = mg.widgets.Selection(suspects["clip_id"], "labels that are likely to be wrong")
mg.widgets.ErrorExplorer(run, split, selection=suspected, views=["notes", "matrix"])

# %% [markdown]
# ## Clips between two classes
# By probability and by distance to the prototypes. `disagree`: RGB and pose do not say the same. Many of one pair say
# that the two classes are hard to tell apart, by people too: tag those *ambiguous*.

# %%
ambiguous = mg.analysis.ambiguous(run, split)
ambiguous[["clip_id", "true", "confused_with", "ambiguity", "margin", "disagree"]].head(10).round(3)

# %% [markdown]
# ## Why it decided so
# Gradients of the answer say which frames and joints it rests on. They are about the network and not about the person:
# a joint that stands out in every class may be one that gives the dataset away. From now on the button *Saliency* of
# the explorers above works, too.

# %%
saliency = mg.explain(run, split, clip_ids=ambiguous["clip_id"].head(200))
saliency

# %% [markdown]
# The most ambiguous clips, lit where the decision comes from; the bars are the same over time.

# %%
shown = list(ambiguous["clip_id"].head(50))
mg.widgets.ClipPlayer(run, split=split, clip_ids=shown, saliency=True)

# %%
mg.figures.film_strip(clips, shown[0], saliency=saliency)

# %% [markdown]
# Which joints decide for which class:

# %%
mg.figures.joint_importance(run, split) if saliency.joints is not None else "This run has no pose pathway."

# %% [markdown]
# ## Train on what was reviewed
# Clips tagged *label wrong* are left out, or get the class that you chose. That of *test* clips is not changed: report
# on the published labels. To clean the training clips, look at them with the folds of
# [2 · Look at the data](02_look_at_the_data.ipynb): train on the others, test on one, set `SPLIT`, tag.

# %%
try:
    cleaner = clips.reviewed(notes)
    print(f"Train on {cleaner}")
except mg.MgkitError as why:
    print(f"Nothing to train anew yet: {why}")

# %% [markdown]
# Then these two lines train on them, in a process of its own that can be closed and found again, and
# [8 · Compare runs](08_compare_runs.ipynb) says which clips that fixed and which it broke:
#
# ```python
# job = mg.launch(cleaner, mg.recipes.demo(), mg.run_folder(clips, "reviewed"))
# mg.widgets.TrainingMonitor(job)
# ```
#
# **Next.** [7 · Paper figures](07_paper_figures.ipynb) for the rest of the figures.
