"""A model, since tasks import some."""

from django.db import models


class Order(models.Model):
    """An order."""

    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return str(self.name)
