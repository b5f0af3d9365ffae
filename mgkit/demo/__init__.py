"""The embedded dataset, and drawn interviews to try one's own videos on."""

from mgkit.demo.recording import Estimator, draw_interview, draw_interviews

__all__ = ["Estimator", "draw_interview", "draw_interviews"]
