"""SQL over landed tables: which files a statement may read, and DuckDB around them."""
