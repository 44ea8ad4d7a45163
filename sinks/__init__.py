"""Sinks: the loader, the table log that makes landing exactly once, and the files it writes."""
