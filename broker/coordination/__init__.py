"""Where topics and their configuration are kept: an embedded store for one node."""
