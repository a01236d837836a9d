"""Before the runtime starts: resolve references to secrets and export them as environment variables."""
