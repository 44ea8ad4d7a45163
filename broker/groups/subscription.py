"""The topics in a consumer's metadata: the one thing in the members' opaque bytes that the broker looks at.

Source: ConsumerProtocolSubscription.json: version int16, then an array of topic names; what follows differs by version.
"""

import struct

CONSUMER_PROTOCOL_TYPE = "consumer"


def subscribed_topics(metadata: bytes) -> frozenset[str] | None:
    """The topics that a member subscribes to; None if these are not a consumer's bytes."""
    try:
        _, count = struct.unpack_from(">hi", metadata)
        topics, position = set(), 6
        for _ in range(count):
            (length,) = struct.unpack_from(">h", metadata, position)
            position += 2 + length
            if length < 0 or position > len(metadata):
                return None
            topics.add(metadata[position - length : position].decode())
    except (struct.error, UnicodeDecodeError):
        return None
    return frozenset(topics)
