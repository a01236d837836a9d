"""A SAM template: read, resolved, and made in the embedded AWS."""
