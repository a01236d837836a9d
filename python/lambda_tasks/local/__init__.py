"""This machine as Lambda: embedded AWS services, the real runtime, and an event source mapping. Never in the layer."""
