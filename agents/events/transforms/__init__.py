"""What an input changes, leaves out or hides of its events, step by step. Pure and deterministic."""
