"""How far landing is behind, how long what has not landed is safe, and who is told of it."""
