"""`lambda-tasks` on the command line: never in the layer."""
