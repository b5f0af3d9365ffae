"""Fusion of several systems."""
