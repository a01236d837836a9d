"""The wire format: the shapes of an SQS record, a message's body, context and payload, and its outcome."""
