import pytest
import torch
from torch import distributed as dist

from tests.models.one_process import main

pytestmark = pytest.mark.slow  # starts three processes


@pytest.fixture(scope="module")
def saved(tmp_path_factory, forkserver):
    """Results of one process and of each of two, for every split of the batch."""
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("processes")
    outputs = [folder / "whole.pt", folder / "first.pt", folder / "second.pt"]
    runs = [(0, 1, outputs[0]), (0, 2, outputs[1]), (1, 2, outputs[2])]
    started = [
        forkserver.Process(target=main, args=(rank, processes, str(folder / "meeting"), str(output)))
        for rank, processes, output in runs
    ]
    for process in started:
        process.start()
    try:
        for process in started:
            process.join(300)
            assert process.exitcode == 0
    finally:
        for process in started:
            process.kill()
    return [torch.load(output, weights_only=True) for output in outputs]


@pytest.mark.parametrize("setting", ["tp-0", "tp-5", "tp-30", "all-0", "all-30"])
@pytest.mark.parametrize("split", ["even", "uneven", "empty", "none right"])
def test_two_processes_are_one_whole_batch(saved, split, setting):
    whole, first, second = (x[f"{split}-{setting}"]["steps"] for x in saved)
    close = {"atol": 1e-5, "rtol": 1e-5}
    assert len(whole) == 3
    for one, a, b in zip(whole, first, second, strict=True):
        torch.testing.assert_close((a["loss"] + b["loss"]) / 2, one["loss"], **close)
        for name, value in one["terms"].items():
            torch.testing.assert_close((a["terms"][name] + b["terms"][name]) / 2, value, **close)
        for process in (a, b):
            assert torch.equal(process["tp"], one["tp"])
            for kind in ("gradients", "state"):
                assert process[kind].keys() == one[kind].keys()
                for name, value in one[kind].items():
                    torch.testing.assert_close(process[kind][name], value, **close)


def test_the_batches_exercise_what_they_should(saved):
    """Otherwise agreement would mean little: true positives in some classes, prototypes that moved, a used memory."""
    whole, _, second = saved
    step = whole["even-tp-0"]["steps"][0]
    assert 0 < step["tp"].sum() < 12
    assert step["terms"]["pr_rgb"] > 0.1
    assert step["state"]["refinement.rgb.updates"].any()
    for step in second["none right-tp-0"]["steps"]:
        assert step["own tp"] == 0
        assert step["tp"].sum() > 0
    remembering, without = (whole[f"even-tp-{memory}"]["steps"][2] for memory in (30, 0))
    assert (remembering["state"]["refinement.rgb.memory.labels"] >= 0).all()
    assert not torch.allclose(remembering["terms"]["pr_rgb"], without["terms"]["pr_rgb"])
