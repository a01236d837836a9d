"""The store of leases and records in a database of Django's: ``LAMBDA_TASKS_TABLE=django``, or ``django:<alias>``.

Every write is one statement, in a transaction of its own, that names the version of the row that it was decided by. So
no lock is held from one statement to the next, and none while a task runs.
"""
