"""Messages sent once more: made of the record of one that ended, or of a dead letter."""
