"""The limits of a call: its time, the ways to stop it, its memory, and the watchdog for calls that do not end."""
