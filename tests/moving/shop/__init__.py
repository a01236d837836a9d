"""An app with tasks as the documents of django-lambda-tasks 0.8.1 have them; a test moves it."""
