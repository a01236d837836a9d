"""Steps with checkpoints: what a task has finished stays finished, whichever delivery goes on with it."""
