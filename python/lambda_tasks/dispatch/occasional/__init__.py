"""What some tasks and outcomes need, and a plain message never imports."""
