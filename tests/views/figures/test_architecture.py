"""The overview of the network: every variant at every width readable, exact and the same each time."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import pytest
import torch
from matplotlib.text import Text
from torch import Tensor, nn

import mgkit as mg
from mgkit.data.skeletons import IMIGUE22
from mgkit.errors import MgkitError
from mgkit.models import PathwayOutput
from mgkit.models.outline import outline as outline_of_model
from mgkit.models.pathways import SinglePathway
from mgkit.training import recipes
from mgkit.training.recipe import Recipe
from mgkit.training.recipes import demo, fusion, paper, pose_only, pose_small, rgb_only
from mgkit.views.figures.style import LEAST, VENUES, PaperFigure, width_of
from tests.models.nets import two_pathway
from tests.views.figures.test_figures import check

NARROW: dict[str, Any] = {"rgb_width": 8, "pose_width": 8}
VARIANTS: dict[str, Recipe] = {
    "paper": paper(),
    "no fusion": fusion(fusion=None),
    "time fusion": fusion(axis="time", sequential=True),
    "no laterals": fusion(laterals=False),
    "late fusion": fusion(laterals=False, fusion=None),
    "no prototypes": fusion(prototypes=False),
    "detached": fusion(lateral_detach=True),
    "halved time": fusion(halve_time=True),
    "narrow": demo(),
    "one meeting": fusion(rgb_blocks=(1, 1, 1), pose_blocks=(1, 1), **NARROW),
    "a meeting more": fusion(rgb_blocks=(1, 1, 1, 1, 1), pose_blocks=(1, 1, 1, 1), **NARROW),
    "deep": fusion(rgb_blocks=(3, 4, 23, 3), pose_blocks=(4, 36, 3), **NARROW),
    "odd sizes": fusion(rgb_size=200, heatmap_size=50, alpha=0.05, **NARROW),
    "rgb": rgb_only(),
    "pose": pose_only(),
    "small pose": pose_small(prototypes=False),
    "ctrgcn": recipes.ctrgcn(),
    "stgcn of two": recipes.stgcn(stream="bone-motion", persons=2, prototypes=False),
    "ehct": recipes.ehct(persons=2, prototypes=True),
    "ehct without prototypes": recipes.ehct(),
    "narrow bones": recipes.narrow(recipes.dgstgcn(stream="bone")),
    "tsm": recipes.tsm(),
    "video swin": recipes.video_swin_base(),
    "semantic limbs": recipes.poseconv3d_semantic("names", heatmap="limb"),
    "motion of limbs": pose_only(heatmap="limb-motion", pose_width=8),
}


class OwnBackbone(nn.Module):
    out_channels = (16,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Conv3d(3, 8, 3, 2, 1), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 16, 3, 2, 1)]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class OwnModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frames, self.body, self.classifier = nn.Linear(3, 8), nn.Linear(5, 8), nn.Linear(16, 4)

    def forward(self, x: dict[str, Tensor]) -> dict[str, PathwayOutput]:
        frames, body = self.frames(x["rgb"].mean((2, 3, 4))), self.body(x["pose"].mean((2, 3, 4)))
        logits = self.classifier(torch.cat([frames, body], 1))
        return {name: PathwayOutput(logits) for name in x}


class OwnFusion(nn.Module):
    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        return rgb, pose


def own(name: str) -> dict[str, Any]:
    """Outlines of networks that are not mgkit's."""
    shapes = {"rgb": (3, 4, 64, 64), "pose": (5, 16, 16, 16)}
    if name == "own backbone":
        return outline_of_model(SinglePathway("rgb", OwnBackbone(), 4), {"rgb": shapes["rgb"]})
    if name == "own model":
        return outline_of_model(OwnModel(), shapes)
    model = two_pathway(4, 5, rgb_width=4, pose_width=4, rgb_blocks=(1, 1, 1, 1), pose_blocks=(1, 1, 1))
    for i in range(len(model.fusion)):
        model.fusion[i] = OwnFusion()
    return outline_of_model(model, shapes)


OWN = ("own backbone", "own model", "own fusion")
SIZES = [("cvpr", 1), ("cvpr", 2), ("eccv", 1)]


@cache
def outlined(name: str) -> dict[str, Any]:
    if name in OWN:
        return own(name)
    recipe = VARIANTS[name]
    if recipe.inputs.keypoints:
        return mg.recipes.outline(recipe, classes=82, skeleton=IMIGUE22)
    return mg.recipes.outline(recipe, classes=82, joints=133)


def texts_of(figure: PaperFigure) -> list[Text]:
    return [text for text in figure.figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


def overlaps(figure: PaperFigure) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes touch."""
    texts = texts_of(figure)
    boxes = [text.get_window_extent() for text in texts]
    return [
        (texts[i].get_text(), texts[j].get_text())
        for i, j in combinations(range(len(texts)), 2)
        if boxes[i].overlaps(boxes[j])
    ]


def outside(figure: PaperFigure) -> list[str]:
    """Texts that leave the canvas."""
    width, height = figure.figure.get_size_inches() * figure.figure.dpi
    found = []
    for text in texts_of(figure):
        box = text.get_window_extent()
        if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height:
            found.append(text.get_text())
    return found


def strays(figure: PaperFigure) -> list[str]:
    """Texts that begin in a box and do not end in it, or are half covered by one."""
    (axes,) = figure.figure.axes
    boxes = [p.get_window_extent() for p in axes.patches if type(p).__name__ == "FancyBboxPatch"]
    found = []
    for text in texts_of(figure):
        mine = text.get_window_extent()
        for box in boxes:
            inside = (
                box.x0 <= mine.x0 and mine.x1 <= box.x1 and box.y0 <= mine.y0 + 1 and mine.y1 - 1 <= box.y1
            )
            if mine.overlaps(box) and not inside:
                found.append(text.get_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("venue", "columns"), SIZES)
@pytest.mark.parametrize("name", [*VARIANTS, *OWN])
def test_no_text_overlaps_or_leaves_the_canvas(name: str, venue: str, columns: int) -> None:
    figure = mg.figures.architecture(outlined(name), venue=venue, columns=columns)
    figure.figure.set_dpi(300)
    assert overlaps(figure) == []
    assert outside(figure) == []
    assert strays(figure) == []
    assert min(text.get_fontsize() for text in texts_of(figure)) >= LEAST
    assert figure.figure.get_size_inches()[0] == pytest.approx(width_of(venue, columns))


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("columns", [1, 2])
def test_the_paper_network_keeps_to_every_venue(venue: str, columns: int) -> None:
    figure = mg.figures.architecture(outlined("paper"), venue=venue, columns=columns)
    figure.figure.set_dpi(300)
    assert overlaps(figure) == outside(figure) == strays(figure) == []
    assert figure.figure.get_size_inches()[1] < 6.5


def test_overlaps_would_be_found() -> None:
    figure = mg.figures.architecture(outlined("narrow"))
    first = texts_of(figure)[0]
    x, y = first.get_position()
    figure.figure.axes[0].text(x, y, "Stage 1", fontsize=7)
    figure.figure.axes[0].text(-3, 40, "Stage 2", fontsize=7)
    assert overlaps(figure)
    assert outside(figure) == ["Stage 2"]


@pytest.mark.parametrize("columns", [1, 2])
def test_it_is_saved_by_the_rules_of_all_figures(columns: int) -> None:
    check(mg.figures.architecture(outlined("paper"), columns=columns), VENUES["cvpr"][columns - 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "rgb"])
def test_drawn_twice_is_the_same_file(name: str) -> None:
    one, two = (mg.figures.architecture(outlined(name)) for _ in range(2))
    assert one.pdf() == two.pdf()
    assert one.png() == two.png()


def words(name: str, columns: int = 2) -> list[str]:
    return [text.get_text() for text in texts_of(mg.figures.architecture(outlined(name), columns=columns))]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 2])
def test_each_part_is_there_when_the_network_has_it(columns: int) -> None:
    whole = words("paper", columns)
    assert whole.count("Fusion") == whole.count("Prototypes") == whole.count("Embedding") == 2
    assert [text for text in whole if text.startswith("+")] == ["+128", "+32", "+256", "+64"]
    assert {"133×32×56²", "2048×8×7²", "512×32×7²", "82×256", "Prediction"} <= set(whole)
    assert any("× 0.2" in text for text in whole)
    assert "Fusion" not in words("no fusion", columns)
    assert not any(text.startswith("+") for text in words("no laterals", columns))
    assert not {"Prototypes", "Embedding"} & set(words("no prototypes", columns))
    assert "no gradient" in words("detached", columns)
    assert "no gradient" not in whole
    assert any("frames" in text for text in words("time fusion", columns))
    assert "Heatmaps" not in words("rgb", columns)
    assert "RGB" not in words("pose", columns)


def test_the_data_has_every_part() -> None:
    network = outlined("paper")
    data = mg.figures.architecture(network).data
    assert data["parameters"].sum() == network["parameters"]
    stages = data[data["part"].str.fullmatch(r"stage \d")]
    assert stages["blocks"].tolist() == [3, 4, 6, 3, 4, 6, 3]
    assert stages["channels"].tolist() == [256, 512, 1024, 2048, 128, 256, 512]
    assert data["part"].str.startswith("lateral").sum() == 4
    assert data["part"].str.startswith("fusion").sum() == 2


@pytest.mark.slow
@pytest.mark.parametrize("columns", [1, 2])
def test_other_networks_say_what_they_are_fed_and_made_of(columns: int) -> None:
    assert {"Joints", "3×100×22", "Norm", "256×25×22"} <= set(words("ctrgcn", columns))
    assert {"Bone motion", "3×100×22 × 2 people"} <= set(words("stgcn of two", columns))
    assert {"Groups", "3 × logits", "Prototypes"} <= set(words("ehct", columns))
    assert not {"Embedding", "Prototypes"} & set(words("ehct without prototypes", columns))
    assert {"Limb maps", "Semantic", "300", "error × 20"} <= set(words("semantic limbs", columns))
    assert "block: graph convolution, then along time" in words("ctrgcn", columns)
    assert "block with a shift along time" in words("tsm", columns)
    for name, title in (("ctrgcn", "Pose pathway (CTR-GCN)"), ("video swin", "RGB pathway (Video Swin)")):
        assert any(word.startswith(title) for word in words(name, columns))


@pytest.mark.parametrize("columns", [1, 2])
def test_networks_of_somebody_else_are_drawn_by_their_children(columns: int) -> None:
    backbone = " ".join(words("own backbone", columns))
    assert all(word in backbone for word in ("RGB", "3×4×64²", "Conv3d", "BatchNorm3d", "16×1×16²", "module"))
    model = " ".join(words("own model", columns))
    assert all(word in model for word in ("RGB", "Heatmaps", "5×16×16²", "Linear", "2 modules", "Prediction"))
    assert "OwnFusion" in words("own fusion", columns)
    for name in OWN:
        figure = mg.figures.architecture(outlined(name), columns=columns)
        assert figure.data["parameters"].sum() == outlined(name)["parameters"]
    assert "fusion by OwnFusion" in figure.note
    assert "shape" in mg.figures.architecture(outlined("own model")).data


def test_the_data_of_a_skeleton_network_has_joints_and_persons() -> None:
    network = outlined("ehct")
    figure = mg.figures.architecture(network)
    assert {"joints", "persons", "groups"} <= set(figure.data)
    assert "height" not in figure.data
    assert figure.data["parameters"].sum() == network["parameters"]
    assert figure.data["persons"].dropna().tolist() == [2]
    assert "channels x frames x joints" in figure.note
    assert "3 groups of classes have 50 %" in figure.note


def test_a_model_without_losses_is_drawn_with_all_its_outputs() -> None:
    bare = {key: value for key, value in outlined("paper").items() if key != "losses"}
    found = [text.get_text() for text in texts_of(mg.figures.architecture(bare))]
    assert "Embedding" in found
    assert "Cross-entropy" not in found
    assert "training only" not in found


@pytest.mark.parametrize("given", [None, {}, {"pathways": []}, "paper"])
def test_what_is_no_outline_is_refused(given: Any) -> None:
    with pytest.raises(MgkitError, match=r"mg\.recipes\.outline"):
        mg.figures.architecture(given)


def test_maps_of_the_motion_of_limbs_are_called_limb_maps() -> None:
    assert "Limb maps" in {
        text.get_text() for text in texts_of(mg.figures.architecture(outlined("motion of limbs")))
    }
