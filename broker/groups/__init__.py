"""Consumer groups: the pure core of the classic protocol, and its offsets in `__consumer_offsets`."""
