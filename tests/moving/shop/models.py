"""The models of the shop."""

from django.db import models


class Order(models.Model):
    """An order."""

    name = models.CharField(max_length=100)
    payments = models.IntegerField(default=0)
