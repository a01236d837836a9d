"""Destinations that are no queues: each message is a job of AWS Batch, or a task of Amazon ECS."""
