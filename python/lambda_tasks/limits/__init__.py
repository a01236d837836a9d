"""The limits of one call: how long it may run and who stops it, how much memory it may have, and who answers for it."""
