"""Alternatives timed in turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping

import numpy as np

from mgkit.parallel import cores


def interleaved(
    ways: Mapping[str, Callable[[], object]], rounds: int, items: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Run every way once a round, after one round that does not count.

    Returns:
        For each way (rounds,) processor milliseconds of this process and (rounds,) wall milliseconds, an item.
    """
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            processor, wall = time.process_time(), time.perf_counter()
            way()
            if number:
                spent[name].append((time.process_time() - processor, time.perf_counter() - wall))
    return {name: tuple(1e3 * np.array(times).T / items) for name, times in spent.items()}  # type: ignore[misc]


def line(name: str, times: np.ndarray, baseline: np.ndarray | None = None) -> str:
    """Median and quartiles in milliseconds, and how many times quicker than the baseline (by medians)."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    ratio = "" if baseline is None else f"  {np.median(baseline) / middle:6.2f}x"
    return f"  {name:44s} {middle:8.2f} ms  ({low:.2f} to {high:.2f}){ratio}"


def machine() -> str:
    """Processor, cores and load, to be read with every figure."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(row.split(":", 1)[1].strip() for row in file if row.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{name}, {cores()} cores{load}, Python {platform.python_version()}"
