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
# ![Clips that one run fixed and broke of another, class by class](../docs/images/notebooks/08_compare_runs.png)
#
# A run has a higher number than another. Which clips did it fix, which did it break, and could that be chance? Here a
# branch that was trained alone is compared with the two-pathway network that was made of both.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | after `make demo` | a quarter of a minute | the same: nothing is computed on it |

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
# **Your own data:** change `DATA`. For runs of your own name them: `one = mg.load_run("../runs/before")`, and so on.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is not there
RUN = None  # a run folder; None = the one that belongs to DATA
BASELINE = None  # the branch to start from, "rgb" or "pose"; None = the first

# %%
clips = mg.open_clips(DATA)
run = mg.open_run(clips, RUN)
branches = {name: run.stage(name) for name in run.stages()}
one = branches[BASELINE or next(iter(branches))]
{name: branch.root.name for name, branch in branches.items()} | {"all": run.root.name}

# %% [markdown]
# ## One table
# The settings that differ and only those, the results, and the gain over the baseline on the same clips.

# %%
comparison = mg.compare_runs([*branches.values(), run], baseline=one, clips=clips)
table = mg.figures.table(comparison)
table

# %% [markdown]
# ## How sure is it?
# Three questions, since one number does not answer them:
#
# - **Are the clips that changed one-sided?** McNemar's test looks at the clips on which the two differ: were they fixed
#   no oftener than broken, the difference would be a coin toss. `p_exact` is the exact test, `p` its mid-p.
# - **Were many runs compared?** Then one is bound to look good. `p_holm` is adjusted for their number.
# - **Would it hold for other people?** Clips of one person are alike, and McNemar's test does not know. The interval of
#   the gain draws whole subjects; where it holds 0, do not rely on the gain.
#
# None of them says what another seed would do: train several and pass `group_seeds=True`.

# %%
comparison[["fixed", "broken", "gain", "gain_low", "gain_high", "interval_over", "p", "p_exact", "p_holm"]].T

# %% [markdown]
# ## Fixed and broken, to click in
# Click a number, a bar or a clip: whatever else shares the selection marks it. Arrow keys move, Enter selects.

# %%
selection = mg.widgets.Selection()
compared = mg.widgets.RunComparison(one, run, selection=selection)
compared

# %%
compared.select("broken")  # the same from Python
list(selection)[:5]

# %% [markdown]
# ## Which confusions changed
# The difference of the confusion matrices by the output that both have: blue cells have more clips in the two-pathway
# run. It shares the selection with the view above.

# %%
matrix = mg.widgets.ConfusionMatrix(run, output=one.outputs[0], other=one, selection=selection)
matrix

# %% [markdown]
# ## For the paper
# The figure, and the table as LaTeX (it needs `\usepackage{booktabs}` and nothing else). `save` writes PDF, PNG and CSV
# of the one, `.tex`, `.md` and CSV of the other.

# %% tags=["picture"]
mg.figures.run_comparison(one, run)

# %%
print(table.latex())

# %% [markdown]
# **Next.** [9 · Does it help?](09_ablation.ipynb): one part more a row, over seeds. Or two settings of your own: `mg.compare_runs(["runs/a", "runs/b"])`, or in a shell
# `mgkit compare runs/a runs/b`.
