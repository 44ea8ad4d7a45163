"""From bytes that were read to events as they go on the wire. Pure and deterministic: same row, same bytes, same events."""
