"""A task of ``django.tasks``, whose result is asked for."""

try:
    from django.tasks import task
except ModuleNotFoundError:  # before Django 6
    from django_tasks import task


@task
def answer() -> int:
    """Answer."""
    return 42
