"""Kinds of options that jobs have in common, checked where they are written."""

from typing import Annotated

from pydantic import AfterValidator

from headrace.jobs.batch.event_rows import Place


def _is_place(text: str) -> str:
    Place.parse(text)
    return text


ColumnName = Annotated[str, AfterValidator(_is_place)]
"""A column, or a key of the map or record in it: `host`, `fields.user`, `fields['user']`."""
