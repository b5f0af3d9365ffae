"""One process of the multi-process test: trains two steps on its share of each batch and saves what it saw.

Started by test_distributed.py as `python one_process.py RANK PROCESSES MEETING_FILE OUTPUT`; with one process it does
the whole batch, which is what several must agree with.
"""

import sys

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mgkit.models import Objective, PathwayOutput

CLASSES, INPUTS, DIMENSIONS, CLIPS = 4, 7, 6, 12
SPLITS = {"even": (6, 6), "uneven": (9, 3), "empty": (12, 0)}


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


def train(rank: int, processes: int, split: tuple[int, ...], shift: str) -> dict:
    net = Net()
    model = DistributedDataParallel(net) if processes > 1 else net
    # Each process draws other prototypes: those of the first must win.
    g = torch.Generator().manual_seed(100 + rank)
    weights = [1.0, 2.0, 0.5, 1.5]
    objective = Objective(
        ("rgb", "pose"), CLASSES, DIMENSIONS, alpha=0.7, shift=shift, class_weights=weights, generator=g
    )
    seen = []
    for step in range(2):
        g = torch.Generator().manual_seed(step)
        x, labels = torch.randn(CLIPS, INPUTS, generator=g), torch.randint(0, CLASSES, (CLIPS,), generator=g)
        start = sum(split[:rank])
        mine = slice(start, start + split[rank]) if processes > 1 else slice(None)
        model.zero_grad()
        result = objective(model(x[mine]), labels[mine])
        result.loss.backward()
        seen.append(
            {
                "loss": result.loss.detach(),
                "terms": result.terms,
                "tp": result.refinement["rgb"].tp,
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


if __name__ == "__main__":
    rank, processes = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=processes)
    saved = {
        f"{name}-{shift}": train(rank, processes, split, shift)
        for name, split in SPLITS.items()
        for shift in ("tp", "all")
    }
    torch.save(saved, sys.argv[4])
    if processes > 1:
        dist.destroy_process_group()
