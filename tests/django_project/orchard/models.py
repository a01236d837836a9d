"""The models of the orchard."""

from __future__ import annotations

from django.db import models


class Tree(models.Model):
    """A tree."""

    name = models.CharField(max_length=100, unique=True)

    def __str__(self) -> str:
        return str(self.name)
