"""Jobs: SQL, audit and Apache Beam over what has landed."""
