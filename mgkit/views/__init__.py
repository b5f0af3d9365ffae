"""Views of run folders: `analysis` (numbers), `figures` (for a paper) and `widgets` (to click)."""
