"""What a run is: the run folder (`runs`, with `records` and `storage` behind it) and the numbers read off it (`metrics`)."""
