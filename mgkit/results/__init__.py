"""What a run is: the run folder (`runs`, built on `records` and `storage`) and the numbers read off it (`metrics`)."""
