"""The embedded dataset and the demonstration run."""
