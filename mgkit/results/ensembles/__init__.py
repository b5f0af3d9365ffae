"""Late fusion of several systems: their weights, and what each of them adds."""

from mgkit.results.ensembles.contributions import agreement, leave_one_out, oracle
from mgkit.results.ensembles.fuse import fit_temperatures
from mgkit.results.ensembles.search import search_weights

__all__ = ["agreement", "fit_temperatures", "leave_one_out", "oracle", "search_weights"]
