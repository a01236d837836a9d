"""Times of records in the database: epoch seconds elsewhere, a date with its time for Django."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone as of_django


def moment_of(epoch_seconds: float) -> datetime:
    """Return a time as Django's settings have it: without its zone where ``USE_TZ`` is off."""
    aware = datetime.fromtimestamp(epoch_seconds, timezone.utc)
    return aware if settings.USE_TZ else of_django.make_naive(aware)


def epoch_of(moment: datetime | None) -> float | None:
    """Return a time, as Django has it, in epoch seconds."""
    if moment is None:
        return None
    return (of_django.make_aware(moment) if of_django.is_naive(moment) else moment).timestamp()


class MomentField(models.DateTimeField):
    """A field of a time that takes epoch seconds too, as records have them elsewhere."""

    def to_python(self, value: Any) -> Any:  # noqa: ANN401 - as Django calls it
        """Return a time, of epoch seconds too."""
        return super().to_python(_moment(value))

    def get_prep_value(self, value: Any) -> Any:  # noqa: ANN401
        """Return what the database is given."""
        return super().get_prep_value(_moment(value))


def _moment(value: object) -> object:
    return moment_of(value) if isinstance(value, (int, float)) else value
