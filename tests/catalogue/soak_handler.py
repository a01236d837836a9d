"""The handler of the soak: ours, with the name of its process in the log records of outcomes."""

from __future__ import annotations

import logging
import os

from catalogue.soak import name_of_process
from lambda_tasks.handler import handler

__all__ = ["handler"]


class _Process(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.runtime_process = name_of_process(os.getpid())
        return True


logging.getLogger("lambda_tasks").addFilter(_Process())
