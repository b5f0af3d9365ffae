"""From clips to the tensors of one batch."""
