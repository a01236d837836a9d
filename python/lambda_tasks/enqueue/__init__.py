"""The producer: a call of ``enqueue`` becomes a message, which goes to its destination."""
