"""A task as whoever runs it or sends it needs it: its name, its parameters, its options, and where it is found."""
