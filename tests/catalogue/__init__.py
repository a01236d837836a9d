"""Tasks for tests, as an application would define them."""
