"""The training monitor: what it draws, its buttons, and a training that outlives its kernel."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from mgkit.views.widgets import TrainingMonitor
from tests.browser.bare import BarePage

LIVE = {
    "stage": "joint", "epoch": 3, "epochs": 4, "step": 5, "steps": 10, "clips": 40, "of": 80, "clips_per_second": 12.5,
    "seconds_left": 75, "loss": 0.9, "train_top1_fused": 0.5, "learning_rate": 0.01,
}  # fmt: skip


def shown(state: str = "running", **changes: Any) -> dict[str, Any]:
    part = {
        "name": "joint", "state": state, "epoch": 2, "epochs": 4, "current": True, "live": LIVE, "epochs_done": [1, 2],
        "curves": {
            "loss": [2.0, 1.0], "loss_ce_rgb": [1.0, 0.5], "loss_pr_rgb": [1.5, None], "val_top1_fused": [0.25, 0.75],
            "train_top1_fused": [0.2, 0.6], "learning_rate": [0.02, 0.01], "tp_rgb": [40, 60], "fn_rgb": [40, 20],
        },
    }  # fmt: skip
    stage = {**part, "name": "rgb", "state": "finished", "epoch": 4, "current": False, "live": {}}
    base = {
        "name": "mine", "state": state, "message": "", "can_stop": state == "running", "can_resume": state == "failed",
        "log": ["one", "<b>two</b>"], "parts": [stage, part], "stop": "mgkit stop /runs/mine",
    }  # fmt: skip
    return base | changes


def show(page: Page, root: Path, what: dict[str, Any], theme: str = "light") -> BarePage:
    widget = TrainingMonitor(root, interval=3600)
    widget.shown = what
    widget.close()  # no more looks at the folder
    return BarePage(page, widget, theme)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 700])
def test_curves_numbers_and_stages(page: Page, tmp_path: Path, theme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    bare = show(page, tmp_path / "none", shown(), theme)
    expect(page.locator(".mgk-state")).to_have_text("Running")
    numbers = page.locator(".mgk-numbers").inner_text().replace("\n", " ")
    for words in ("3 of 4", "40 of 80", "12.5", "1:15", "0.900", "75 %"):
        assert words in numbers
    assert page.locator("[data-panel]:visible").count() == 4
    loss = page.locator("[data-panel=loss] polyline[data-line=loss]").get_attribute("points")
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in str(loss).split())
    assert x1 < x2
    assert y1 < y2  # it falls
    assert page.locator("[data-now=loss]").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".mgk-monitor").bounding_box()["height"] < 900  # type: ignore[index]
    page.locator("[data-part=rgb]").click()
    assert page.locator("[data-now]").count() == 0
    page.locator("[data-part=joint]").click()
    assert page.locator("[data-now=loss]").count() == 1
    page.locator("summary").click()
    assert page.locator("pre").inner_text() == "one\n<b>two</b>"
    assert not bare.errors


def test_lines_can_be_told_apart_and_ticks_are_round(page: Page, tmp_path: Path) -> None:
    what = shown("finished")
    what["parts"] = what["parts"][1:]
    what["parts"][0] |= {
        "state": "finished",
        "live": {},
        "epochs": 6,
        "epoch": 6,
        "epochs_done": [1, 2, 3, 4, 5, 6],
    }
    what["parts"][0]["curves"] = {
        "loss": [3.7, 3, 2, 2, 1, 1], "loss_ce_pose": [1, 1, 1, 1, 1, 0.5], "loss_pr_pose": [1, 1, 0.5, 0.5, 0.5, 0.5],
        "loss_groups_pose": [1.5, 1, 1, 1, 1, 0.5], "tp_pose": [137, 200, 300, 420, 520, 610],
        "fn_pose": [563, 500, 400, 280, 180, 90], "fp_pose": [563, 500, 400, 280, 180, 90],
    }  # fmt: skip
    bare = show(page, tmp_path / "none", what)
    expect(page.locator("[data-part]")).to_have_text(["✓ Training6 of 6"])
    keys = page.locator("[data-panel=counts] .mgk-key").all_inner_texts()
    assert [key.strip() for key in keys] == ["TP Pose", "FN = FP Pose"]
    looks = [
        (line.evaluate("line => line.style.stroke"), line.get_attribute("stroke-dasharray"))
        for line in page.locator("[data-panel=loss] .mgk-key polyline").all()
    ]
    assert len(looks) == len(set(looks)) == 4
    ticks = page.locator("[data-panel=counts] svg[role=img] text").all_text_contents()
    assert ticks == ["0", "200", "400", "600", "0", "2", "4", "epoch 6"]
    ticks = page.locator("[data-panel=loss] svg[role=img] text").all_text_contents()
    assert ticks[:4] == ["0", "1", "2", "3"]
    what = copy.deepcopy(what)
    what["parts"][0]["curves"]["fp_pose"][2] = 399  # of a history that says otherwise each has its line
    page.evaluate("shown => { window.model.set('shown', shown); window.model.save_changes(); }", what)
    expect(page.locator("[data-panel=counts] .mgk-key")).to_have_text(["TP Pose", "FN Pose", "FP Pose"])
    assert not bare.errors


def test_buttons_ask_before_they_act(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path / "none", shown())
    assert not page.locator(".mgk-resume").is_visible()
    page.locator(".mgk-stop").click()
    assert page.evaluate("model.sent") == []
    page.get_by_role("button", name="No", exact=True).click()
    page.locator(".mgk-stop").click()
    page.keyboard.press("Escape")
    assert page.evaluate("model.sent") == []
    page.locator(".mgk-stop").click()
    page.locator(".mgk-stop").click()
    assert page.evaluate("model.sent") == [{"act": "stop"}]
    expect(page.locator(".mgk-warn")).to_contain_text("cannot be stopped")  # nothing runs in that folder
    assert not bare.errors


def test_a_button_that_a_busy_kernel_does_not_hear_says_what_will_happen(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path / "none", shown())
    page.evaluate("() => { model.really = model.send; model.send = content => { model.kept = content; }; }")
    page.locator(".mgk-stop").click()
    page.locator(".mgk-stop").click()
    warning = page.locator(".mgk-warn")
    expect(warning).to_contain_text("when the cell that is running has ended")
    expect(warning).to_contain_text(
        "To stop it now, interrupt the kernel (■), or run in a terminal: mgkit stop /runs"
    )
    page.evaluate("() => model.really(model.kept)")  # the cell has ended
    expect(warning).not_to_contain_text("kernel is busy")
    expect(warning).to_contain_text("cannot be stopped")  # nothing runs in that folder
    assert not bare.errors


def test_a_training_that_was_asked_to_stop_says_so(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path / "none", shown("stopping", message="it ends after the current step", can_stop=False))
    expect(page.locator(".mgk-state")).to_have_text("Stopping")
    expect(page.locator(".mgk-warn")).to_have_text("it ends after the current step")
    assert not page.locator(".mgk-stop").is_visible()
    assert not page.locator(".mgk-resume").is_visible()


def test_a_failure_is_told_and_an_empty_folder_waited_for(page: Page, tmp_path: Path) -> None:
    bare = show(page, tmp_path / "none", shown("failed", message="out of memory: use a smaller batch_size"))
    expect(page.locator(".mgk-warn")).to_have_text("out of memory: use a smaller batch_size")
    assert page.locator(".mgk-resume").is_visible()
    bare.widget.shown = shown("none", parts=[], log=[])
    bare.push()
    expect(page.locator(".mgk-state")).to_have_text("Not started yet")
    assert page.locator("[data-panel]:visible").count() == 0
    assert not bare.errors
