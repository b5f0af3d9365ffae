"""Losses, and the prototypes they move."""
