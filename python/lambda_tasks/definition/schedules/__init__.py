"""When a task runs by itself: expressions and time zones of EventBridge Scheduler, for tasks that have a schedule."""
