"""A module that holds a task of another one, and the standard library's `os`."""

import os

from catalogue.tasks import add

__all__ = ["add", "os"]
