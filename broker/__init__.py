"""The broker: a partitioned log on disk behind the Kafka protocol."""
