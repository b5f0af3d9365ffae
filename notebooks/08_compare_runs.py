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
# # 8 · Compare runs
#
# ![Clips that one run fixed and broke compared with another, per class](../docs/images/notebooks/08_compare_runs.png)
#
# One run scores higher than another. Which clips did it fix, which did it break, and could the gain be chance? Here a
# branch trained alone is compared with the two-pathway network built from both branches; of a run without branches, the
# two pathways are compared with each other.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo` | 15 s | the same: it is not used |

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
# **Your own data:** change `DATA`. For your own runs, name them: `one = mg.load_run("../runs/before")`, and so on.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is missing
RUN = None  # a run folder; None = the one that belongs to DATA
BASELINE = None  # the branch to start from, "rgb" or "pose"; None = the first

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
split = run.shown_split
branches = {name: run.stage(name) for name in run.stages() if split in run.stage(name).splits()}
one = branches[BASELINE or next(iter(branches))] if branches else run  # itself: its pathways are compared
{name: branch.root.name for name, branch in branches.items()} | {"all": run.root.name}

# %% [markdown]
# ## One table
# Only the settings that differ, the results, and the gain over the baseline on the same clips.

# %%
comparison = mg.if_possible(mg.compare_runs, [*branches.values(), run], split, baseline=one, clips=clips)
table = mg.if_possible(mg.figures.table, comparison)
table

# %% [markdown]
# ## How certain is it?
# Three questions that one number cannot answer:
#
# - **Were more clips fixed than broken?** McNemar's test looks at the clips on which the two runs disagree: without a
#   real difference, each would be fixed or broken with equal probability. `p_exact` is the exact test, `p` its mid-p.
# - **Were many runs compared?** Then one of them will look good by chance. `p_holm` is corrected for their number.
# - **Would it hold for other people?** Clips of one person are similar, which McNemar's test ignores. The interval of
#   the gain resamples whole subjects; if it contains 0, do not rely on the gain.
#
# None of them covers the effect of the random seed: train several seeds and pass `group_seeds=True`.

# %%
comparison[["fixed", "broken", "gain", "gain_low", "gain_high", "interval_over", "p", "p_exact", "p_holm"]].T

# %% [markdown]
# ## Explore fixed and broken clips
# Click a number, a bar or a clip: every view with the same selection marks it. Arrow keys move, Enter selects. With one
# run twice, `mg.widgets.RunComparison(run, run)`, it shows what pose has right and RGB wrong, and the reverse.

# %%
selection = mg.widgets.Selection()
compared = mg.if_possible(mg.widgets.RunComparison, one, run, split, selection=selection)
compared

# %%
compared.select("broken")  # the same from Python
list(selection)[:5]

# %% [markdown]
# ## Which confusions changed
# The difference of the confusion matrices, for an output that both have: blue cells have more clips in the two-pathway
# run. It shares the selection with the view above.

# %%
matrix = mg.if_possible(
    mg.widgets.ConfusionMatrix, run, split, output=one.outputs[0], other=one, selection=selection
)
matrix

# %% [markdown]
# ## For the paper
# The figure, and the table as LaTeX (it only needs `\usepackage{booktabs}`). `save` writes PDF, PNG and CSV of the
# figure, and `.tex`, `.md` and CSV of the table.

# %% tags=["picture"]
mg.if_possible(mg.figures.run_comparison, one, run, split)

# %%
print(table.latex())

# %% [markdown]
# **Next.** [9 · Does it help?](09_ablation.ipynb): adds one component per row, over several seeds. Or compare your own
# runs: `mg.compare_runs(["runs/a", "runs/b"])`, or `mgkit compare runs/a runs/b` in a shell.
