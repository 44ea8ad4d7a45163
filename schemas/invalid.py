"""What every type of schema says of a text that is none of it."""


class InvalidSchemaError(ValueError):
    """The text is no schema of its type; the message says why, and where."""
