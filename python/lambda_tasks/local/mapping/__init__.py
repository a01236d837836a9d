"""The event source mapping: from a queue's messages to invocations, and what of them stays in the queue."""
