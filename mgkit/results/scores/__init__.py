"""Class probabilities of any system."""
