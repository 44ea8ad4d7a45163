"""What a segment's files are called, in Kafka's way: its base offset in twenty digits, and what the file holds."""

LOG, INDEX, TIME_INDEX = ".log", ".index", ".timeindex"
TXN_INDEX = ".txnindex"  # Apache Kafka's: read by aborted.py, and gone with its segment
SUFFIXES = (LOG, INDEX, TIME_INDEX, TXN_INDEX)


def segment_name(base_offset: int) -> str:
    """The stem of a segment's files."""
    return f"{base_offset:020d}"
