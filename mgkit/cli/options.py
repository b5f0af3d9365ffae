"""Options and texts that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mgkit.errors import command, counted

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = Any

RUN_CODE = "allow the run folder's own code (code/) to run"


class CommandParser(argparse.ArgumentParser):
    """The parser of one command.

    Args:
        late: adds arguments whose help takes slow imports; called once, when the command itself is parsed, so that
            `mgkit --help` and the other commands do not wait for them.
        options: of `argparse.ArgumentParser`.
    """

    def __init__(
        self, *, late: Callable[[argparse.ArgumentParser], None] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._late = late

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Add the late arguments, then parse."""
        if self._late is not None:
            late, self._late = self._late, None
            late(self)
        return super().parse_known_args(args, namespace)


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Add `--set`."""
    parser.add_argument(
        "--set",
        dest="changes",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting of the recipe, e.g. epochs=12 or stream=bone, or of one of its stages, e.g. "
        "rgb.epochs=20 or joint.epochs=5; repeatable",
    )


def add_hardware(parser: argparse.ArgumentParser) -> None:
    """Add the device and the loader processes."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, help="loader processes (default: chosen from the number of cores)"
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the processes and machines that share the work."""
    parser.add_argument(
        "--devices",
        type=int,
        help="processes on this machine, each with a GPU (default: those of torchrun or srun, else 1)",
    )
    parser.add_argument("--nodes", type=int, help="machines (default: those of torchrun or srun, else 1)")


def print_once(text: str) -> None:
    """Print what a command found; of several processes the first one does."""
    from mgkit.models.layers import rank

    if rank() == 0:
        print(text)


def test_command(run: Any) -> str:
    """The command that tests a run, on the split of its clips to look at first."""
    from mgkit.data.splits import shown_split

    split = shown_split(list(run.config["data"]["splits"]))
    return command("test", run.root, *([] if split == "test" else ["--split", split]))


def results(run: Any, split: str, baseline: Any = None) -> str:
    """The table of results of a run and of its branches, and of a baseline, in per cent."""
    import pandas as pd

    from mgkit.results.stats.metrics import evaluate

    parts = {
        f"{name} branch alone": run.stage(name) for name in run.stages() if split in run.stage(name).splits()
    }
    table = evaluate(run, split, baseline=baseline)
    caution = f"\nCAUTION: {table.attrs['caution']}" if table.attrs["caution"] else ""
    rows = {name: evaluate(stage, split).iloc[0] for name, stage in parts.items()}
    shown = {"rgb": "RGB", "pose": "pose"}
    joint = "two-pathway: " if len(run.pathways) > 1 else ""
    names = {key: f"{joint}{text}" for key, text in {**shown, "fused": "fused"}.items()} | {
        "majority": "always the majority",
        "extra_trees": "extra trees on key-points",
    }
    words = [str(name).partition(", ") for name in table.index]  # "fused, without non_gesture"
    table.index = pd.Index([names.get(name, name) + comma + rest for name, comma, rest in words])
    table = pd.concat([pd.DataFrame(rows).T, table]) if rows else table
    percent = table[["top1", "top1_low", "top1_high", "macro_f1", "mean_class_accuracy"]].astype(float) * 100
    percent.columns = pd.Index(["Top-1", "95 % from", "to", "macro-F1", "mean class acc."])
    count = int(table["clips"].iloc[0])
    shown_table = percent.to_string(float_format=lambda v: f"{v:.1f}", na_rep="-")
    return f"{split}: {counted(count, 'clip')}, per cent\n{shown_table}{caution}"
