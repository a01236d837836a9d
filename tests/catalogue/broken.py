"""A module that cannot be imported, because something that it needs is not there."""

import a_module_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401
