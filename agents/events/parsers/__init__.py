"""Parsers: what a line says about its time, and its fields. Pure, deterministic, and none changes the line.

A parser is a function of the line's text and its read time (µs) to the event time (µs, or None where the line has none) and
fields. A line that it does not understand has the reason in field `parse_error`, and else what plain text has. Time is linear
in the line: regular expressions are possessive where they could backtrack, a user's are RE2's.
"""
