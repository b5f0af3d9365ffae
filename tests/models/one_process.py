"""One process of the multi-process test: trains some steps on its share of each batch and saves what it saw.

With one process it does the whole batch, which is what several must agree with.
"""

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mgkit.models import Objective, PathwayOutput

CLASSES, INPUTS, DIMENSIONS, CLIPS, STEPS = 4, 7, 6, 12, 3
# How many clips of a batch the two processes get; in "none right" the second gets only clips that the net has wrong.
SPLITS = {"even": (6, 6), "uneven": (9, 3), "empty": (12, 0), "none right": (7, 5)}
# (shift, memory, is the objective wrapped in DistributedDataParallel too). Of 12 clips a step, a memory of 5 keeps less
# than a batch, one of 30 reaches two steps back.
SETTINGS = (("tp", 0, False), ("tp", 5, False), ("tp", 30, True), ("all", 0, False), ("all", 30, False))


class Net(nn.Module):
    """Two "pathways" of linear layers, in the shape of a model's outputs."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.layers = nn.ModuleDict(
            {
                f"{p}_{o}": nn.Linear(INPUTS, CLASSES if o == "c" else DIMENSIONS)
                for p in ("rgb", "pose")
                for o in "ce"
            }
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=g)

    def forward(self, x: torch.Tensor) -> dict[str, PathwayOutput]:
        return {
            p: PathwayOutput(self.layers[f"{p}_c"](x), self.layers[f"{p}_e"](x), x) for p in ("rgb", "pose")
        }


class NetWithObjective(nn.Module):
    """Both in one module, as it is wrapped whole in some loops; what its objective gave stays in `result`."""

    def __init__(self, net: Net, objective: Objective) -> None:
        super().__init__()
        self.net, self.objective = net, objective

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.result = self.objective(self.net(x), labels)
        return self.result.loss


def wrong_labels(net: Net, x: torch.Tensor) -> torch.Tensor:
    """For each clip a class that neither pathway predicts."""
    with torch.no_grad():
        predicted = torch.stack([output.logits.argmax(1) for output in net(x).values()])
    return torch.tensor([min(set(range(CLASSES)) - set(column)) for column in predicted.T.tolist()])


def train(rank: int, processes: int, case: str, shift: str, memory: int, wrapped: bool) -> dict:
    split = SPLITS[case]
    net = Net()
    # Each process draws other prototypes: those of the first must win.
    g = torch.Generator().manual_seed(100 + rank)
    weights = [1.0, 2.0, 0.5, 1.5]
    objective = Objective(
        ("rgb", "pose"), CLASSES, DIMENSIONS, alpha=0.7, shift=shift, class_weights=weights, memory=memory, generator=g
    )  # fmt: skip
    both = NetWithObjective(net, objective)
    if processes > 1 and wrapped:
        step_loss = DistributedDataParallel(both)
    else:
        both.net = DistributedDataParallel(net) if processes > 1 else net
        step_loss = both
    seen = []
    for step in range(STEPS):
        g = torch.Generator().manual_seed(step)
        x, labels = torch.randn(CLIPS, INPUTS, generator=g), torch.randint(0, CLASSES, (CLIPS,), generator=g)
        start = sum(split[:rank])
        mine = slice(start, start + split[rank]) if processes > 1 else slice(None)
        if case == "none right":
            with torch.no_grad():
                labels[:3] = net(x[:3])["rgb"].logits.argmax(1)
            labels[split[0] :] = wrong_labels(net, x[split[0] :])
        net.zero_grad()
        step_loss(x[mine], labels[mine]).backward()
        result = both.result
        seen.append(
            {
                "loss": result.loss.detach(),
                "terms": result.terms,
                "tp": result.refinement["rgb"].tp,
                "own tp": int(torch.sum(net(x[mine])["rgb"].logits.argmax(1) == labels[mine])),
                "gradients": {name: p.grad.clone() for name, p in net.named_parameters()},
                "state": {name: value.clone() for name, value in objective.state_dict().items()},
            }
        )
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad
    # In evaluation mode a process may be alone: this must not wait for the others.
    if rank == 0:
        objective.eval()(net(x), labels)
    return {"steps": seen}


def main(rank: int, processes: int, meeting: str, output: str) -> None:
    """Train with every split and setting; the processes find each other at the file `meeting`."""
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes)
    saved = {
        f"{case}-{shift}-{memory}": train(rank, processes, case, shift, memory, wrapped)
        for case in SPLITS
        for shift, memory, wrapped in SETTINGS
    }
    torch.save(saved, output)
    if processes > 1:
        dist.destroy_process_group()
