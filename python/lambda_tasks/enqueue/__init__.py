"""The producer: what a call of ``enqueue`` becomes, and where it goes."""
