"""What a run is: the run folder (`runs`) and the numbers read off it (`metrics`)."""
