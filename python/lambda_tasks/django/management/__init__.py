"""What `manage.py` of an application finds."""
