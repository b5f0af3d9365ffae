"""The cost of a network, `cost.json`: parameters, operations, clips per second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError, counted, some
from mgkit.files import write_json
from mgkit.results.run.files import naming, read_dict


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass, for one view of one clip: a test with V views costs V times as much.

    Attributes:
        parameters: learnt numbers of the whole network, its heads included.
        flops: floating-point operations of a view. A multiplication and an addition count as **two**; much of the
            literature calls half of this FLOPs (see `multiply_adds`). Convolutions, linear layers and the products of
            attention are counted; normalisation, activations, pooling and sums are not.
        inputs: shape of one clip, of each input.
        clips_per_second: speed of the network alone (median over batches), from inputs that are ready on the device;
            None where it was not measured.
        slow, fast: the quartiles over batches, clips per second.
        loaded_clips_per_second: the same with reading, decoding and preparing the clips, as `mg.test` does with one
            view; None where it was not measured.
        batch_size, device, threads, precision: what it was measured with; device is the name of a GPU, or "cpu".
        workers: loader processes of the measurement with loading.
        measured: when, ISO 8601 UTC; software: version of torch.
    """

    parameters: int
    flops: int
    inputs: dict[str, list[int]]
    clips_per_second: float | None = None
    slow: float | None = None
    fast: float | None = None
    loaded_clips_per_second: float | None = None
    batch_size: int | None = None
    device: str = ""
    threads: int | None = None
    precision: str = ""
    workers: int | None = None
    measured: str = ""
    software: str = ""

    def __post_init__(self) -> None:
        for name in ("parameters", "flops"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise MgkitError(f"{name} is {value!r}: a whole number, 0 or more, is expected.")
        for name in ("clips_per_second", "slow", "fast", "loaded_clips_per_second"):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and isfinite(value) and value > 0):
                raise MgkitError(f"{name} is {value!r}: a number above 0 is expected.")
        for name, kind in (("inputs", dict), ("device", str), ("precision", str)):
            if not isinstance(getattr(self, name), kind):
                raise MgkitError(f"{name} is {getattr(self, name)!r}: a {kind.__name__} is expected.")

    @property
    def multiply_adds(self) -> int:
        """Half of `flops`: what fvcore, MMAction2, PYSKL and most papers print as FLOPs."""
        return self.flops // 2

    @property
    def conditions(self) -> str:
        """Device, threads, batch and precision of the measured speed, in one phrase; "" where it was not measured."""
        if self.clips_per_second is None:
            return ""
        threads = f", {counted(self.threads, 'thread')}" if self.device == "cpu" and self.threads else ""
        return f"{self.device}{threads}, batch {self.batch_size}, {self.precision}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def together(costs: Sequence[Cost]) -> Cost:
    """Cost of an ensemble: its members run in turn, so parameters, operations and seconds add up.

    The speed is only known where that of every member was measured under the same conditions.
    """
    if not costs:
        raise MgkitError("an ensemble without members has no cost.")
    inputs = {f"{i}.{name}": shape for i, cost in enumerate(costs) for name, shape in cost.inputs.items()}
    total = Cost(sum(cost.parameters for cost in costs), sum(cost.flops for cost in costs), inputs)
    speeds = [cost.clips_per_second for cost in costs if cost.clips_per_second]
    if len(speeds) < len(costs) or len({cost.conditions for cost in costs}) > 1:
        return total
    first, speed = costs[0], 1 / sum(1 / speed for speed in speeds)
    return Cost(
        total.parameters, total.flops, inputs, speed, batch_size=first.batch_size, device=first.device,
        threads=first.threads, precision=first.precision, measured=max(cost.measured for cost in costs),
    )  # fmt: skip


def cost_path(root: str | Path) -> Path:
    return Path(root) / "cost.json"


def write_cost(root: str | Path, cost: Cost) -> None:
    """Write cost.json of a run folder."""
    write_json(cost_path(root), cost.to_dict())


def read_cost(root: str | Path) -> Cost:
    """Read cost.json of a run folder, checked."""
    path, value = cost_path(root), read_dict(cost_path(root))
    unknown = sorted(set(value) - set(Cost.__dataclass_fields__))
    with naming(path, "delete it, and measure the run again"):
        if unknown:
            raise MgkitError(f"the entry {unknown[0]!r} is unknown")
        if missing := [name for name in ("parameters", "flops", "inputs") if name not in value]:
            raise MgkitError(f"it lacks {some(missing)}")
        return Cost(**value)
