"""A database engine."""
