"""A pushed input's own log on disk: what was pushed is durable here before whoever pushed it is answered."""
