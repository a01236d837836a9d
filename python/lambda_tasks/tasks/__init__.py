"""Inside the runtime: define tasks, enqueue them, and dispatch the messages that arrive."""
