"""What an operator does with an agent: check a configuration, look at a running agent, look after its state (docs/adr/0045)."""
