"""The table log of landing.md: records, their fold, the commit protocol, and readers. Knows nothing of Kafka or Parquet."""
