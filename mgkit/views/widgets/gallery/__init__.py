"""The gallery of thumbnails."""

from mgkit.views.widgets.gallery.gallery import Gallery

__all__ = ["Gallery"]
