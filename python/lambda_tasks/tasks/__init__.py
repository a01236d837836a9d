"""The face of a task: the decorator, the call, and the ways to enqueue it."""
