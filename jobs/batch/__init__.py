"""Batch jobs on Apache Beam over landed tables."""
