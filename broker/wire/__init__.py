"""The wire: frames, headers and messages of the Kafka protocol, version by version, behind one interface.

Layers, lowest first: `frames` (length-prefixed byte strings), `header` (request and response headers), `encode` (mappings to
bytes), `schema` (which message class a key and version have; from kio), `hot` (the two responses packed by hand). Nothing here
knows of sockets, clocks, topics or logs; nothing outside this package imports kio.
"""

from kio.schema.errors import ErrorCode

__all__ = ["ErrorCode"]
