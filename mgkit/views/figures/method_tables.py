"""The comparison of methods as a paper prints it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from mgkit.errors import some
from mgkit.views.figures.paper_table import PERCENT, Columns, PaperTable, missing, p_value, percent

LEVEL = 0.05  # of what is bold


def table_of_methods(data: pd.DataFrame) -> PaperTable:
    """The table to print of what `mg.method_table` returned; what is bold is said in `figures.table`."""
    out = Columns(len(data))
    ours = data["source"] == "tested here"
    base = data.index[ours & data["gain"].isna()]
    out.add_words("Method", data.index.tolist())
    out.add_words("Modality", data["modality"].tolist())
    if (data["seeds"] > 1).any():
        out.add("Seeds", [_whole(value) for value in data["seeds"]])
    small: dict[tuple[int, int], str] = {}
    for name, head in (
        ("top1", "Top-1"),
        ("macro_f1", "Macro-F1"),
        ("mean_class_accuracy", "Mean class acc."),
    ):
        if name == "top1" and _not_told(data, base) == []:
            out.bold.add((list(data.index).index(base[0]), len(out.header)))
        for i, row in enumerate(data.to_dict("records")):
            if text := _around(row, name):
                small[i, len(out.header)] = text
        shown = [percent(value) for value in data[name]]
        if name == "top1":  # others' numbers with the digits that are usually printed
            shown = [
                f"{100 * value:.2f}" if source == "published" else text
                for value, source, text in zip(data[name], data["source"], shown, strict=True)
            ]
        out.add(f"{head}{PERCENT}", shown)
    if data["parameters"].notna().any():
        out.add("Parameters (M)", [_scaled(value, 1e6) for value in data["parameters"]])
        out.add("GFLOPs", [_scaled(value, 1e9) for value in data["flops"]])
    if data["clips_per_second"].notna().any():
        out.add("Clips/s", [_scaled(value, 1) for value in data["clips_per_second"]])
    if ours.sum() > 1:
        out.add("p (Holm)", [p_value(value) for value in data["p_holm"]])
    made = out.table(data.reset_index(), " ".join(_notes(data, base)))
    rules = {i for i in range(1, len(data)) if data["source"].iloc[i] != data["source"].iloc[i - 1]}
    return PaperTable(
        made.header, made.rows, made.bold, made.text_columns, made.data, made.note, small, frozenset(rules)
    )


def _not_told(data: pd.DataFrame, base: pd.Index) -> list[str] | None:
    """Methods that no test tells from the best one; None where there is one method, or tests against another."""
    ours = data[data["source"] == "tested here"]
    if len(ours) < 2 or len(base) != 1 or ours["top1"].max() > ours.loc[base[0], "top1"]:
        return None
    return [str(name) for name in ours.index if name != base[0] and not ours.loc[name, "p_holm"] < LEVEL]


def _around(row: dict[Any, Any], name: str) -> str:
    """The spread over seeds and the interval of a number."""
    spread, low, high = (row[f"{name}_{end}"] for end in ("spread", "low", "high"))
    parts = [] if missing(spread) else [f"± {percent(spread)}"]
    if not missing(low) and not missing(high):
        parts.append(f"[{percent(low)}, {percent(high)}]")
    return " ".join(parts)


def _notes(data: pd.DataFrame, base: pd.Index) -> list[str]:
    """What a reader must know, one sentence each."""
    ours, others = data[data["source"] == "tested here"], data[data["source"] == "published"]
    notes = []
    if len(ours):
        over = ours["interval_over"].iloc[0]
        notes.append(
            f"{int(ours['clips'].iloc[0]):,} clips. In brackets 95 % intervals from resampling {over}; the trained "
            "networks stay the same."
        )
        if (ours["seeds"] > 1).any():
            notes.append("Means over seeds, ± their standard deviation, which the intervals do not cover.")
        if len(ours) > 1:
            against = some(ours["against"].dropna().unique())
            notes.append(
                f"p against {against}: {_tests(ours['test'].dropna().unique(), over)}, adjusted after Holm."
            )
        ways = (
            ours.loc[ours["tested_with"] != "-", "tested_with"] if "tested_with" in ours else ours["source"]
        )
        if ways.nunique() > 1:
            notes.append(
                "Methods were tested differently: "
                + "; ".join(
                    f"{some(rows.index)} with {way}" for way, rows in ours.loc[ways.index].groupby(ways)
                )
                + "."
            )
        alike = _not_told(data, base)
        if alike:
            notes.append(f"None is bold: {base[0]} does not differ significantly (0.05) from {some(alike)}.")
        elif alike == []:
            notes.append("Bold: a best Top-1 that differs significantly (0.05) from every other method's.")
        notes += _cost_notes(ours)
    if len(others):
        counts = sorted({int(value) for value in others["clips"]})
        notes.append(
            f"Published numbers are their authors', on iMiGUE's test split ({some(f'{n:,}' for n in counts)} clips, "
            "Wilson intervals); they were not measured here."
        )
        if (ours["tested_on"] != "iMiGUE test").any():
            notes.append("The rows above are on other data and cannot be compared with them.")
    return notes


def _tests(kinds: Iterable[str], over: str) -> str:
    said = {
        "McNemar exact": "McNemar's exact test",
        f"{over} and seeds": f"the larger of a bootstrap over {over} and a t-test over seeds",
    }
    return " or ".join(said.get(kind, kind) for kind in sorted(kinds))


def _cost_notes(ours: pd.DataFrame) -> list[str]:
    notes = []
    if ours["parameters"].notna().any():
        notes.append("FLOPs of one view, a multiplication and an addition being two.")
    on = list(ours["measured_on"].dropna().unique())
    if len(on) == 1:
        notes.append(f"Clips/s: the network alone, one view, on {on[0]}.")
    elif on:
        timed = ours[ours["measured_on"].notna()]
        each = "; ".join(
            f"{some(rows.index)} on {what}" for what, rows in timed.groupby("measured_on", sort=False)
        )
        notes.append(f"Clips/s were measured under different conditions: {each}.")
    lacking = list(ours.index[ours["parameters"].isna() | ours["clips_per_second"].isna()])
    if lacking:
        notes.append(f"Cost not measured (mg.measure): {some(lacking)}.")
    return notes


def _whole(value: Any) -> str:
    return "-" if missing(value) else f"{int(value):,}"


def _scaled(value: Any, unit: float) -> str:
    """Three digits, never in powers of ten."""
    if missing(value):
        return "-"
    number = float(value) / unit
    digits = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 0.1 else 4
    return f"{number:.{digits}f}"
