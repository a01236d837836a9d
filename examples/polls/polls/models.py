"""What the polls keep."""

from __future__ import annotations

from django.db import models


class Question(models.Model):
    """A question, until it is closed; `summary_id` is that of the task that counts it."""

    text = models.CharField(max_length=200)
    is_closed = models.BooleanField(default=False)
    summary_id = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return str(self.text)


class Choice(models.Model):
    """An answer, and how many chose it."""

    question = models.ForeignKey(Question, on_delete=models.CASCADE, related_name="choices")
    text = models.CharField(max_length=200)
    votes = models.IntegerField(default=0)

    def __str__(self) -> str:
        return str(self.text)


class Vote(models.Model):
    """One vote, with the message that it came by."""

    choice = models.ForeignKey(Choice, on_delete=models.CASCADE)
    message_id = models.CharField(max_length=64, unique=True)
    counted_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.choice}, {self.counted_at:%H:%M:%S}"
