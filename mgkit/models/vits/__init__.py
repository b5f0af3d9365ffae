"""Transformers on tokens of video patches."""
