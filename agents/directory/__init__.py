"""Directories into which programs drop finished files: each is shipped once, from its first byte to its last."""
