"""The application of the project: an orchard, whose trees are counted."""
