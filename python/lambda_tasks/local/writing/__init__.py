"""Parts of a template that a program writes: SAM's events for the schedules in the code."""
