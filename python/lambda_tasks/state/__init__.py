"""The state that outlives an execution environment: the leases of messages that run, and the records of messages."""
