"""Tables of results for a paper, of what the functions of `mgkit.results` return."""

from __future__ import annotations

import pandas as pd

from mgkit.errors import MgkitError
from mgkit.results.comparison import SETTING_KINDS
from mgkit.views.figures.method_tables import table_of_methods
from mgkit.views.figures.paper_table import PERCENT, Columns, PaperTable, number, p_value
from mgkit.views.figures.paper_table import latex_escaped as latex_escaped
from mgkit.views.figures.style import OUTPUT_NAMES

__all__ = ["PaperTable", "latex_escaped", "table"]


def table(data: pd.DataFrame) -> PaperTable:
    """The table to print of what `mg.compare_runs`, `mg.method_table`, `mg.evaluate`, `per_class` or
    `mg.ablation_table` returned.

    Accuracies are in per cent to one decimal, with their 95 % interval in brackets; the best of a column is bold, and
    so is whatever is printed as the same number. Rows that are no result of a model (the majority class) are never the
    best. In a table of methods, where each is tested against the best, only Top-1 may be bold, and only if it differs
    significantly (p after Holm below 0.05) from that of every other method; else the note names those that it does not
    differ from. Intervals stand there in smaller type.

    Raises:
        MgkitError: a table that is none of these, or has no row.
    """
    if not len(data):
        raise MgkitError("the table has no row: there is nothing to print.")
    kind = str(data.index.name)
    if kind == "method" and {"top1", "source", "p_holm"} <= set(data.columns):
        return table_of_methods(data)
    if kind in ("run", "row", "output") and "top1" in data:
        return _of_results(data, kind)
    if {"class", "support", "recall", "f1"} <= set(data.columns):
        return _of_classes(data)
    raise MgkitError(
        f"a table with the columns {', '.join(map(str, data.columns))} is not known: pass what mg.compare_runs, "
        "mg.method_table, mg.evaluate, per_class or mg.ablation_table returned."
    )


def _of_results(data: pd.DataFrame, kind: str) -> PaperTable:
    out = Columns(len(data))
    able = [name != "majority" or kind != "output" for name in data.index]
    names = [OUTPUT_NAMES.get(str(name), str(name)) if kind == "output" else str(name) for name in data.index]
    if kind == "output":
        names = ["Always the majority" if name == "majority" else name for name in names]
    out.add_words({"run": "Run", "row": "Row", "output": "Output"}[kind], names)
    for name in data.columns:
        if str(name).startswith(SETTING_KINDS):
            out.add_words(_setting_head(str(name)), data[name].tolist())
    if "seeds" in data and kind == "run":
        out.add_words("Seeds", data["seeds"].tolist())
    elif "seeds" in data:
        out.add("Seeds", [f"{int(value)}" for value in data["seeds"]])
    if kind == "run" and data["output"].nunique() > 1:
        out.add_words("Output", [OUTPUT_NAMES.get(str(value), str(value)) for value in data["output"]])
    if "clips" in data:
        out.add("Clips", [f"{int(value)}" for value in data["clips"]])
    out.addpercent(f"Top-1{PERCENT}", data, "top1", "top1_low", "top1_high", best=able)
    if "top1_spread" in data:
        out.addpercent("SD over seeds (points)", data, "top1_spread")
    if "top5" in data:
        out.addpercent(f"Top-5{PERCENT}", data, "top5", best=able)
    out.addpercent(f"Macro-F1{PERCENT}", data, "macro_f1", best=able)
    out.addpercent(f"Mean class acc.{PERCENT}", data, "mean_class_accuracy", best=able)
    note = "Top-1 with its 95 % interval; the best of a column is bold."
    if kind == "run" and "gain" in data:
        out.addpercent("Gain (points)", data, "gain", "gain_low", "gain_high", "+")
        if "fixed" in data:
            for name in ("fixed", "broken"):
                out.add(name.capitalize(), [number(value) for value in data[name]])
        out.add("p (Holm)", [p_value(value) for value in data["p_holm"]])
        tests, over = (" or ".join(data[name].dropna().unique()) for name in ("test", "interval_over"))
        base = " and ".join(str(name) for name in data.index[data["gain"].isna()])
        note += (
            f" Gain over {base} on the same clips, with its 95 % interval from resampling {over}; p by {tests}, "
            "adjusted after Holm."
        )
    for label, head in (("above", "Gain on the row above"), ("reference", "Gain on the reference")):
        if f"{label}_gain" in data:
            out.addpercent(f"{head} (points)", data, f"{label}_gain", f"{label}_low", f"{label}_high", "+")
            out.add("p (Holm)", [p_value(value) for value in data[f"{label}_p_holm"]])
    if kind == "row":
        note += " Intervals and p (paired t-test, adjusted after Holm) are over seeds."
    return out.table(data.reset_index(), note)


def _of_classes(data: pd.DataFrame) -> PaperTable:
    out = Columns(len(data))
    out.add_words("Class", data["class"].tolist())
    out.add("Clips", [f"{int(value)}" for value in data["support"]])
    out.addpercent(f"Recall{PERCENT}", data, "recall", "recall_low", "recall_high", best=[True] * len(data))
    out.addpercent(
        f"Precision{PERCENT}", data, "precision", "precision_low", "precision_high", best=[True] * len(data)
    )
    out.addpercent(f"F1{PERCENT}", data, "f1", best=[True] * len(data))
    return out.table(
        data, "With 95 % Wilson intervals; - where a number is not defined; the best of a column is bold."
    )


def _setting_head(name: str) -> str:
    """ "recipe.stages.rgb.epochs" -> "rgb stage: epochs"."""
    parts = name.split(".")
    if "stages" in parts[:-1]:
        at = parts.index("stages")
        return f"{parts[at + 1]} stage: {' '.join(parts[at + 2 :])}".replace("_", " ")
    return " ".join(parts[1:]).replace("_", " ")
