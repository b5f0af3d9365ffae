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
# # 11 · Try an idea
#
# ![Top-1 of three fusion modules over seeds, with the gain on plain laterals](../docs/images/notebooks/11_try_an_idea.png)
#
# Write a module in a cell, train it against the paper's on the same clips and seeds, see what it fixed and broke, and
# leave with the table. A fusion module comes first, then a network, a loss and an augmentation.
#
# | | 2 CPU cores | GPU |
# |---|---|---|
# | once the runs are there | seconds | the same: nothing is trained |
# | training them for two epochs | three minutes | shorter (not measured) |
#
# Interrupt it whenever you like: the same cell resumes.

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
# **Your own data:** change `DATA`. At full size, on a GPU, use `mg.recipes.fusion` in place of `mg.recipes.demo`, and
# five seeds.

# %% tags=["parameters"]
DATA = "../data/demo"  # a clip folder; the embedded one is made if it is missing
RUN = None  # folder of the runs; None = one next to the run that belongs to DATA
SEEDS = 2  # five or more for intervals worth having
EPOCHS = 2  # of every stage, for a first look; None = those of the recipes, for a real comparison

# %%
import torch
from torch import nn

clips = mg.open_clips(DATA)
folder = RUN or f"{mg.run_folder(clips)}-ideas"
split = clips.shown_split
validation = "val" if "val" in clips.splits and split != "val" else None
splits = {"split": split, "val_split": validation}
if split == "train":  # there is no other: each clip is tested by the one of three folds that held it out
    people = clips.table["subject"].nunique() >= 3
    folds = mg.if_possible(clips.folds, 3, group="subject" if people else "clip", stratify=False)
    splits = {"folds": folds}
fewer = {} if EPOCHS is None else {"epochs": EPOCHS, "warmup_epochs": 0}

# %% [markdown]
# ## A fusion module
# It receives the feature maps of both pathways where they meet, RGB `(N, C1, T, H, W)` and pose `(N, C2, rT, H, W)`, and
# returns two maps of the same shapes. mgkit passes the numbers of channels and r, the `speed_ratio`; all other arguments
# are your settings. The paper's gates are unbounded; these stay between 0 and 2 and start at 1.


# %%
class GatedSum(nn.Module):
    """Gates from the pooled tokens of both pathways, bounded in (0, 2)."""

    def __init__(self, rgb_channels, pose_channels, *, speed_ratio, hidden=32, generator=None):
        super().__init__()
        self.read = nn.Linear(rgb_channels + pose_channels, hidden)
        self.rgb_gate, self.pose_gate = nn.Linear(hidden, rgb_channels), nn.Linear(hidden, pose_channels)
        for gate in (self.rgb_gate, self.pose_gate):
            nn.init.zeros_(gate.weight)
            nn.init.zeros_(gate.bias)

    def forward(self, rgb, pose):
        tokens = torch.cat([rgb.mean((2, 3, 4)), pose.mean((2, 3, 4))], 1)  # (N, C1 + C2)
        hidden = self.read(tokens).relu()  # (N, hidden)
        gates = [
            2 * gate(hidden).sigmoid()[..., None, None, None] for gate in (self.rgb_gate, self.pose_gate)
        ]
        return rgb * gates[0], pose * gates[1]


ours = mg.recipes.demo(fusion=mg.part(GatedSum, hidden=16), prototypes=False, **fewer)
ours.network

# %% [markdown]
# Before anything is trained, the network is built and run on two clips of yours: maps of the wrong shape, a setting the
# module does not take, or parameters without a gradient are reported in one sentence.
#
# ## Is it better?
# One call trains every recipe with every seed, tests it, and compares. The RGB and pose branches are the same for all
# three rows, so they are trained once per seed.

# %%
recipes = {
    "laterals": mg.recipes.demo(fusion=None, prototypes=False, **fewer),
    "paper's fusion": mg.recipes.demo(prototypes=False, **fewer),
    "GatedSum": ours,
}
study = mg.if_possible(mg.study, clips, recipes, folder, seeds=SEEDS, progress=False, **splits)
table = study.table()
table.drop(columns="top1_of_seeds").T

# %% tags=["picture"]
study.figure()

# %% [markdown]
# Two epochs show the way and no more: set `EPOCHS = None` and five seeds for a comparison.
#
# Two sources of chance are kept apart. Another seed gives another network: `p_seeds` is the paired t-test over seeds.
# Other people give other clips: `p_subjects` resamples subjects. Trust a gain only if both are small after Holm's
# correction; two seeds are for trying out, not for a paper.
#
# ## What did it fix, and what did it break?
# `study.runs(name)` are ordinary run folders: every widget, figure and table opens them.

# %%
laterals, gated = (study.runs(name)[0] for name in ("laterals", "GatedSum"))
mg.if_possible(mg.widgets.RunComparison, laterals, gated, study.split)

# %%
mg.if_possible(mg.figures.class_accuracy, gated, study.split)

# %% [markdown]
# ## A network, a loss and an augmentation
# A network takes `{"pose": key-points (N, M, T, V, 3)}` (or heatmaps, or frames: `reads=`) and returns a `PathwayOutput`
# per pathway. With an embedding, the maps and prototypes of the other notebooks work, too. A loss term returns one
# number per clip. An augmentation changes the key-points of one clip, NaN = not seen.


# %%
class JointNet(nn.Module):
    """Temporal convolutions over all joints of the clearest person."""

    def __init__(self, classes, joints, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(3 * joints, width, 5, padding=2), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, width, 5, padding=2), nn.BatchNorm1d(width), nn.ReLU(),
        )  # fmt: skip
        self.classify = nn.Linear(width, classes)

    def forward(self, inputs):
        points = inputs["pose"][:, 0].flatten(2).transpose(1, 2)  # (N, M, T, V, 3) -> (N, 3 V, T)
        embedding = self.layers(points).mean(2)  # (N, width)
        return {"pose": mg.models.PathwayOutput(self.classify(embedding), embedding)}


def joint_net(classes, inputs, *, width=32, generator=None):
    return JointNet(classes, len(inputs.skeleton), width)


def centre_loss(outputs, labels):
    """Squared distance of each embedding to the mean of its class in the batch."""
    z = outputs["pose"].embedding
    same = (labels[:, None] == labels).float()  # (N, N)
    return ((z - same @ z / same.sum(1, keepdim=True)) ** 2).mean(1)  # (N,)


def drop_joints(keypoints, generator, *, p):
    """Hide each joint of a clip with probability p."""
    hidden = torch.rand(keypoints.shape[2], generator=generator) < p  # (V,)
    return keypoints.masked_fill(hidden[:, None], torch.nan)  # (M, T, V, 3)


common = {"reads": ("keypoints",), "batch_size": 16, "learning_rate": 0.05, "schedule": "cosine"} | {
    "epochs": EPOCHS or 20
}
networks = {
    "JointNet": mg.Recipe(network=mg.part(joint_net), **common),
    "+ centre loss": mg.Recipe(
        network=mg.part(joint_net), losses=[mg.part(centre_loss, weight=0.1)], **common
    ),
    "+ hidden joints": mg.Recipe(network=mg.part(joint_net), augment=[mg.part(drop_joints, p=0.1)], **common),
    "ST-GCN++": mg.recipes.narrow(mg.recipes.stgcnpp(), **fewer),
}
skeletons = mg.if_possible(
    mg.study, clips, networks, f"{folder}-skeletons", seeds=SEEDS, progress=False, **splits
)
skeletons.table()[["top1", "top1_low", "top1_high", "macro_f1", "gain"]].mul(100).round(1)

# %% [markdown]
# The term has its own column in the history, under its name:

# %%
trained = skeletons.runs("+ centre loss", folds=True)[0]
trained.history().tail(2).T

# %% [markdown]
# ## Keep it
# A run keeps the code of your parts, so it can be tested and resumed after the kernel is gone, and by `mg.launch` in
# another process. Opening a run never runs that code. If you change the cell and call the same training again, mgkit
# shows the changed lines and asks for another folder, or `changed_code="accept"`.

# %%
sorted(path.name for path in (trained.root / "code").iterdir()) if trained else trained

# %% [markdown]
# Moved to a file, the same parts train from a shell: `mgkit train data/demo runs/mine --network my_models.py:joint_net
# --set width=16`.
#
# **Next.** [Extending mgkit](../docs/extending.md): a short, complete example of each kind of part, and of datasets,
# figures and widgets; [9 · Does it help?](09_ablation.ipynb): each part of the paper's method, switched on in turn.
