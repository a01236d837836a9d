"""The pages: each enqueues, and answers at once."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from .models import Question
from .tasks import announce, count_vote, summarise


def index(request: HttpRequest) -> HttpResponse:
    """Show the questions, their votes, and the results of those that are closed."""
    questions = Question.objects.prefetch_related("choices")
    return render(request, "polls/index.html", {"questions": [(one, summary_of(one)) for one in questions]})


def summary_of(question: Question) -> dict[str, Any] | None:
    """Return what `summarise` returned, where it ended."""
    if not question.summary_id:
        return None
    result = summarise.get_result(question.summary_id)
    return dict(result.return_value) if result.is_finished else None


@require_POST
def vote(request: HttpRequest) -> HttpResponse:
    """Have a vote counted, once the request is committed."""
    count_vote.enqueue_on_commit(choice_id=int(request.POST["choice"]))
    return redirect("index")


@require_POST
@transaction.non_atomic_requests
def close(request: HttpRequest, question_id: int) -> HttpResponse:  # noqa: ARG001 - as Django calls it
    """Close a question, and have it counted."""
    question = get_object_or_404(Question, pk=question_id)
    question.is_closed = True
    question.save()
    announce.enqueue(question_id=question_id)
    question.summary_id = summarise.enqueue(question_id).id
    question.save()
    return redirect("index")
