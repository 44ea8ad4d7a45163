"""Agents: tail files, parse lines, wrap them in the envelope, and deliver them so that none is lost."""
