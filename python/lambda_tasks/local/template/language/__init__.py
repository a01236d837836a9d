"""The language of templates: its text, its functions, its loops, and the resources that SAM makes of events."""
