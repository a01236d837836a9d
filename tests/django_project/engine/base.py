"""A database engine whose connections can be dropped, as by a server that restarts, and that notices if it is asked."""

from __future__ import annotations

import sqlite3

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    """SQLite, but for a connection that is asked whether it is alive."""

    def is_usable(self) -> bool:
        try:
            self.connection.execute("SELECT 1")
        except sqlite3.Error:
            return False
        return True
