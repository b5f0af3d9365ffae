"""Parts that every widget uses."""
