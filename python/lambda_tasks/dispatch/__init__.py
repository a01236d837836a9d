"""The consumer: from an SQS record to its outcome, and to the answer of the invocation."""
