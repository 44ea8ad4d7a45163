"""The Iceberg projection of landed tables (landing.md, Iceberg projection)."""
