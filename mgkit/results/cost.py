"""What a network costs: parameters, operations and measured speed, in cost.json of a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from mgkit.errors import MgkitError
from mgkit.files import write_json
from mgkit.results.storage import read_dict

__all__ = ["Cost", "cost_path", "read_cost", "together", "write_cost"]


@dataclass(frozen=True)
class Cost:
    """What one forward of a network costs. Everything is for one view of one clip: a test with V views costs V times.

    Attributes:
        parameters: numbers that are learnt, of the whole network, its heads included.
        flops: floating-point operations of a view. A multiplication and an addition count as **two**; much of the
            literature calls half of this FLOPs (see `multiply_adds`). Convolutions, linear layers and the products of
            attention are counted; normalisation, activations, pooling and sums are not.
        inputs: shape of one clip, of each input.
        clips_per_second: clips that the network alone answered a second (the median batch), from inputs that lay
            ready on the device; None where it was not measured.
        slow, fast: the quartiles of the batches, clips a second.
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
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise MgkitError(f"{name} is {value!r}: a whole number, 0 or more, is expected.")
        for name in ("clips_per_second", "slow", "fast", "loaded_clips_per_second"):
            value = getattr(self, name)
            good = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (good and isfinite(value) and value > 0):
                raise MgkitError(f"{name} is {value!r}: a number above 0 is expected.")
        if not isinstance(self.inputs, dict):
            raise MgkitError("inputs must be the shape of each input.")
        for name in ("device", "precision"):
            if not isinstance(getattr(self, name), str):
                raise MgkitError(f"{name} is {getattr(self, name)!r}: a text is expected.")

    @property
    def multiply_adds(self) -> int:
        """Half of `flops`: what fvcore, MMAction2, PYSKL and most papers print as FLOPs."""
        return self.flops // 2

    @property
    def conditions(self) -> str:
        """What the speed was measured with, in one phrase; "" where it was not measured."""
        if self.clips_per_second is None:
            return ""
        threads = f", {self.threads} thread{'s' if self.threads != 1 else ''}" if self.device == "cpu" else ""
        return f"{self.device}{threads}, batch {self.batch_size}, {self.precision}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def together(costs: Sequence[Cost]) -> Cost:
    """Cost of an ensemble: each member answers in turn, so parameters, operations and seconds add up.

    The speed is only known where that of every member was measured under the same conditions.
    """
    if not costs:
        raise MgkitError("the cost of no network is not defined.")
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
    path = cost_path(root)
    value = read_dict(path)
    try:
        return Cost(**value)
    except TypeError:
        unknown = sorted(set(value) - set(Cost.__dataclass_fields__))
        what = f"has the unknown entry {unknown[0]!r}" if unknown else "lacks parameters, flops or inputs"
        raise MgkitError(f"{path} {what}: delete it, and measure the run again.") from None
    except MgkitError as error:
        raise MgkitError(f"{path}: {error} Delete it, and measure the run again.") from None
