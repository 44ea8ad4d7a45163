"""The formats of landed files: how Arrow rows are written in each, and read back exactly."""
