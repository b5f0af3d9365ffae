"""From clips to a run: recipes, the training loop and inference."""
