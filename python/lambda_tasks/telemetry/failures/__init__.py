"""Events about messages that failed or were rejected for good, for a topic of SNS or an event bus of EventBridge."""
