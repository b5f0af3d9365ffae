"""Convolutional networks of frames and heatmaps."""
