"""An answer as a picture: what is drawn of its rows (chart), in a terminal (terminal) or as PNG (picture)."""
