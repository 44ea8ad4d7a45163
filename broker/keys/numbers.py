"""Ranges of numbers that keys share."""

from typing import Annotated

from pydantic import Field

DAY_MS = 86_400_000
MAX_LONG = (1 << 63) - 1
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
MinusOneOrMore = Annotated[int, Field(ge=-1)]
