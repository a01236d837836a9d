"""What the function runs. The pages of views.py enqueue it."""

from __future__ import annotations

import logging
from typing import Any

from django.db.models import F

from lambda_tasks import context, task

from .models import Choice, Question, Vote

try:
    from django.tasks import task as django_task
except ModuleNotFoundError:  # before Django 6
    from django_tasks import task as django_task

logger = logging.getLogger(__name__)


class PollClosed(Exception):
    """A vote that came too late."""


@task(atomic=True)
def count_vote(*, choice_id: int) -> int:
    """Write a vote, and count it: both or none."""
    choice = Choice.objects.select_related("question").get(pk=choice_id)
    if choice.question.is_closed:
        raise PollClosed(str(choice.question))
    Vote.objects.create(choice=choice, message_id=context.message_id)
    Choice.objects.filter(pk=choice_id).update(votes=F("votes") + 1)
    logger.info("counted a vote for %s", choice)
    return int(choice.votes) + 1


@task(retry_on=ConnectionError, retry_delay=1)
def announce(*, question_id: int) -> str:
    """Tell of a result, by a service that is away at first: the same message comes again."""
    if context.attempt == 1:
        raise ConnectionError("the service does not answer")
    return f"announced {Question.objects.get(pk=question_id)}"


@django_task
def summarise(question_id: int) -> dict[str, Any]:
    """Count a closed question: a task of ``django.tasks``, whose result the page shows."""
    return dict(Choice.objects.filter(question=question_id).order_by("pk").values_list("text", "votes"))
