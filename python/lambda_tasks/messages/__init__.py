"""What travels: an SQS record's shapes, a message's body, what it carries beside its kwargs, and its outcome."""
