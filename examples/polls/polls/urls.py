"""The addresses of the polls."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("vote/", views.vote, name="vote"),
    path("close/<int:question_id>/", views.close, name="close"),
    path("admin/", admin.site.urls),
]
