"""The life cycle of Django in a process that runs tasks: its set-up, its connections, and transactions around tasks."""
