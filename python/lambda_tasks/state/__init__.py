"""What outlives an execution environment: who is running a message (leases) and what became of it (records)."""
