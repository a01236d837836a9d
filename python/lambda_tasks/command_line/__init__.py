"""The command line, `lambda-tasks`, which is never in the layer."""
