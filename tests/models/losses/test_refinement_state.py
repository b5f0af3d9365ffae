"""Prototypes, counts and memory survive save, load, resume and other classes."""

import io

import pytest
import torch
from torch.nn import functional as F

from mgkit.errors import MgkitError
from mgkit.models import Objective, PrototypicalRefinement, remap_classes


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_batch(seed=0, n=12, k=5, d=6):
    g = seeded(seed)
    labels = torch.randint(0, k - 1, (n,), generator=g)  # the last class is never seen
    logits = torch.randn(n, k, generator=g) + 1.5 * F.one_hot(labels, k)
    return torch.randn(n, d, generator=g), labels, logits


def trained(memory=0, steps=3):
    refinement = PrototypicalRefinement(5, 6, memory=memory, generator=seeded())
    for step in range(steps):
        refinement(*random_batch(step))
    return refinement


def saved_and_read(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("memory", [0, 5, 40])
def test_a_resumed_training_goes_on_as_if_never_stopped(memory):
    refinement = trained(memory)
    resumed = PrototypicalRefinement(5, 6, memory=memory, generator=seeded(9))
    resumed.load_state_dict(saved_and_read(refinement.state_dict()))
    assert torch.equal(resumed.seen, refinement.seen)
    assert not resumed.seen[4]
    for step in range(3, 6):
        assert torch.equal(resumed(*random_batch(step)).loss, refinement(*random_batch(step)).loss)
    for name, value in refinement.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_state_without_a_memory_is_the_prototypes_and_their_updates():
    refinement = trained()
    assert set(refinement.state_dict()) == {"prototypes", "updates"}
    assert not list(refinement.parameters())
    assert set(trained(memory=2).state_dict()) - {"prototypes", "updates"} == {
        "memory.embeddings", "memory.labels", "memory.predicted"
    }  # fmt: skip


def test_a_state_without_a_memory_loads_into_a_loss_with_one():
    refinement, remembering = trained(), trained(memory=7)
    remembering.load_state_dict(saved_and_read(refinement.state_dict()))
    assert torch.equal(remembering.prototypes, refinement.prototypes)
    assert remembering.memory.labels.tolist() == [-1] * 7
    assert not remembering.memory.embeddings.any()
    # The empty memory is its own, not part of what was loaded: the first step is that of no memory.
    assert torch.equal(remembering(*random_batch(7)).loss, refinement(*random_batch(7)).loss)
    assert (remembering.memory.labels >= 0).all()


def test_a_state_that_does_not_fit_is_explained():
    state = trained(memory=7).state_dict()
    with pytest.raises(MgkitError, match=r"\(5, 6\).*the loss has \(4, 6\).*remap_classes"):
        PrototypicalRefinement(4, 6, memory=7).load_state_dict(state)
    with pytest.raises(MgkitError, match=r"\(5, 6\).*\(5, 8\).*another embedding width"):
        PrototypicalRefinement(5, 8).load_state_dict(state)
    for memory in (0, 3):
        with pytest.raises(MgkitError, match=f"remembers 7 clips, this one {memory}: make it with memory=7"):
            PrototypicalRefinement(5, 6, memory=memory).load_state_dict(state)
    with pytest.raises(MgkitError, match="remap_classes"):
        Objective(("pose",), 4, 6).load_state_dict({f"refinement.pose.{k}": v for k, v in state.items()})
    with pytest.raises(
        RuntimeError, match=r"Missing key.*prototypes"
    ):  # not ours to explain: torch names the keys
        PrototypicalRefinement(5, 6).load_state_dict({})


# Other classes


def test_classes_take_their_prototypes_along_and_new_ones_are_never_seen():
    old = trained()
    before = {name: value.clone() for name, value in old.state_dict().items()}
    mapping = [None, 3, 0, None, 4, 1]
    state = remap_classes(old.state_dict(), mapping, seeded(1))
    new = PrototypicalRefinement(6, 6)
    new.load_state_dict(saved_and_read(state))
    for index, source in enumerate(mapping):
        if source is None:
            assert not new.seen[index]
        else:
            assert torch.equal(new.prototypes[index], old.prototypes[source])
            assert new.updates[index] == old.updates[source]
    assert not new.seen[4]  # never seen before either
    fresh = new.prototypes[[0, 3]]
    assert fresh.std() > 0.3
    assert not torch.equal(fresh[0], fresh[1])
    again = remap_classes(old.state_dict(), mapping, seeded(1))
    assert all(torch.equal(again[name], value) for name, value in state.items())
    assert all(torch.equal(before[name], value) for name, value in old.state_dict().items())


def test_the_same_classes_in_the_same_order_change_nothing():
    state = trained(memory=9).state_dict()
    same = remap_classes(state, range(5))
    assert all(torch.equal(same[name], value) for name, value in state.items())


def test_another_order_of_classes_is_another_order_of_everything():
    """A training whose classes were reordered half-way continues like one with that order from the beginning."""
    old = trained(memory=20)
    mapping = [2, 4, 0, 1, 3]
    new = PrototypicalRefinement(5, 6, memory=20)
    new.load_state_dict(remap_classes(old.state_dict(), mapping))
    z, labels, logits = random_batch(8)
    position = torch.tensor([mapping.index(c) for c in range(5)])
    one, other = old(z, labels, logits), new(z, position[labels], logits[:, mapping])
    torch.testing.assert_close(other.loss, one.loss)
    torch.testing.assert_close(new.prototypes, old.prototypes[mapping])
    assert torch.equal(other.fn, one.fn[mapping])


def test_the_memory_keeps_what_concerns_the_classes_that_stay():
    refinement = PrototypicalRefinement(3, 2, memory=6)
    memory = refinement.memory
    memory.labels.copy_(torch.tensor([0, 0, 1, 2, 2, -1]))
    memory.predicted.copy_(torch.tensor([0, 2, 2, 0, 2, -1]))
    # Class 0 is gone, class 1 becomes two (and so is nobody's in particular), class 2 comes first.
    state = remap_classes(refinement.state_dict(), [2, 1, 1, None])
    assert state["memory.labels"].tolist() == [-1, -1, -1, 0, 0, -1]
    assert state["memory.predicted"].tolist() == [-1, 0, 0, -1, 0, -1]
    new = PrototypicalRefinement(4, 2, memory=6)
    new.load_state_dict(state)
    fn, fp = new.memory.centres(4)
    assert fn.counts.tolist() == [1, 0, 0, 0]
    assert fp.counts.tolist() == [2, 0, 0, 0]


def test_an_objective_is_remapped_whole():
    old = Objective(("rgb", "pose"), 3, 4, memory=2, generator=seeded())
    old.refinement["rgb"].updates += 5
    state = remap_classes(old.state_dict(), [None, 2])
    new = Objective(("rgb", "pose"), 2, 4, memory=2)
    new.load_state_dict(state)
    for name in ("rgb", "pose"):
        assert torch.equal(new.refinement[name].prototypes[1], old.refinement[name].prototypes[2])
    assert new.refinement["rgb"].updates.tolist() == [0, 5]


def test_precision_stays():
    state = remap_classes(trained().double().state_dict(), [None, 0], seeded())
    assert state["prototypes"].dtype == torch.float64
    assert state["updates"].dtype == torch.int64


def test_wrong_mappings_are_explained():
    state = trained().state_dict()
    with pytest.raises(MgkitError, match="class 1 the old class 5, but there are only 0 to 4"):
        remap_classes(state, [0, 5])
    with pytest.raises(MgkitError, match="the old class -1"):
        remap_classes(state, [-1])
    with pytest.raises(MgkitError, match="at least one new class"):
        remap_classes(state, [])
    with pytest.raises(MgkitError, match="got 0 sets of prototypes"):
        remap_classes({"weight": torch.zeros(1)}, [0])


@pytest.mark.parametrize("mapping", [[True, False], [1.0], ["a"], [-1], [5]])
def test_a_mapping_holds_indices_only(mapping):
    with pytest.raises(MgkitError, match="mapping gives class 0"):
        remap_classes(trained().state_dict(), mapping)
