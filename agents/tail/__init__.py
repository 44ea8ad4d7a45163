"""Files as a source: which stream each file is, what of it is read next, and how far it is acknowledged (audit.md, Files)."""
