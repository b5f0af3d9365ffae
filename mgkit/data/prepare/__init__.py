"""From a reader to a clip folder."""
