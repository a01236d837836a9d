"""A Django project for tests. Its own tests run in processes of their own: see ``tests/test_django.py``."""
