"""Record batches as brokers send them, without an object for each record (ADR 0044)."""
