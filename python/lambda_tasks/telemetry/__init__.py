"""The outcomes of messages, told: log records, hooks, metrics and spans."""
