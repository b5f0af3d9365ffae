"""What a run is: the run folder (`runs`, with `records` and `storage` behind it), and its numbers (`metrics`)."""
