"""The definition of a task, for its consumer and its producer: name, parameters, options, and how it is found."""
