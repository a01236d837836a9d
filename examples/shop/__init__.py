"""A small shop whose slow work runs as tasks on Lambda."""
