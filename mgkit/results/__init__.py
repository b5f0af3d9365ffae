"""Results: the run folder (`run`), metrics (`stats`), `scores`, comparisons (`compare`) and `ensembles`."""
