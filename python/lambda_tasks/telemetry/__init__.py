"""The telemetry of messages: log records, hooks, metrics and spans."""
