"""The admin of the polls."""

from __future__ import annotations

from django.contrib import admin

from .models import Choice, Question, Vote


@admin.register(Question, Choice)
class PlainAdmin(admin.ModelAdmin):
    """Questions and answers."""


@admin.register(Vote)
class VoteAdmin(admin.ModelAdmin):
    """Votes, with the messages that they came by."""

    list_display = ("choice", "message_id", "counted_at")
