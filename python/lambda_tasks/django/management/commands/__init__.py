"""The commands of `manage.py`, each a module of its name."""
