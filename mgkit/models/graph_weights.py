"""Published weights of skeleton networks, for another number of persons than they were trained with.

Their names need nothing: inside, our networks are called as PYSKL's are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mgkit.models.graph_blocks import GraphNetwork
from mgkit.models.hyperformer import Hyperformer

__all__ = ["first_persons"]

_NORM = re.compile(r"(?:.*\.)?data_bn\.(?:weight|bias|running_mean|running_var)")


def first_persons(
    state: Mapping[str, Tensor], network: GraphNetwork | Hyperformer
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A file's weights with the input's normalisation cut to the persons that the network takes.

    AAGCN, CTR-GCN and the hypergraph transformer normalise each person's values on their own ("MVC"), and the published
    ones are of two persons.
    The first is the one that every clip has: its values serve a network of one person. Nothing else depends on the
    number of persons.

    Args:
        state: weights under any names that end as the network's do.
        network: the network that they are for. Only where it normalises persons apart, and takes fewer than the file
            is of, is anything cut: all else, misfits too, is passed on as it is.

    Returns:
        the weights, and by name what was done to those that were cut.
    """
    each = network.num_joints * network.in_channels
    wanted = each * network.persons
    cut = {
        name: value[:wanted]
        for name, value in state.items()
        if network.data_norm == "MVC"
        and _NORM.fullmatch(name)
        and value.ndim == 1
        and len(value) > wanted
        and len(value) % each == 0
    }
    notes = {
        name: f"of the file's {len(state[name]) // each} persons the first {network.persons}" for name in cut
    }
    return {**state, **cut}, notes
