"""What an event becomes under its topic's schema: the envelope, a typed schema, or the user's own. Pure and deterministic."""
