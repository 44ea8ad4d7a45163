"""Rows that are still in the broker, beside those that have landed: what `--live` adds to a table."""
