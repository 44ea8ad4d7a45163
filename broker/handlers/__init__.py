"""One module per API key or family; each says which versions it serves and how they differ."""
