"""``LAMBDA_TASKS_MODE=local``: a few processes of this machine, in place of functions on AWS."""
