"""The store of leases and records in a database of Django's: ``LAMBDA_TASKS_TABLE=django``, or ``django:<alias>``.

Every write is one statement, in a transaction of its own, that names the lease that it needs, or the version of the row
that it was decided by. A step and its record are written together, and the row of a rate limit is locked while a turn
is taken. No lock is held while a task runs.
"""
