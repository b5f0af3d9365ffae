"""Scores of any system as files, and what they are worth: calibration, leaderboards."""

from mgkit.results.scores.files import read, write

__all__ = ["read", "write"]
