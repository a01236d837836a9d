"""A Django project: its pages enqueue, and its tasks write rows, on Lambda."""
