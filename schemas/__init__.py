"""Schemas: the registry service, its compatibility rules and store, the wire format, and the envelope."""
