"""What is pushed to the agent: pipes, commands, sockets, the journal. Each source puts lines into its input's spool."""
