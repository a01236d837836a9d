"""The same tasks in containers: a consumer of a queue, and one message a process. Never in the layer."""
