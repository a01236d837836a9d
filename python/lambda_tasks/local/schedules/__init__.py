"""A template's schedules, and when they are due."""
