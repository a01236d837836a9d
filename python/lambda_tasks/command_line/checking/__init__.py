"""The checks of a template, and the policy of a function, for the command `check`."""
