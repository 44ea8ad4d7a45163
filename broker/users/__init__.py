"""Administration of users: the command, and the users of one machine's pipeline. How users log in, `security` knows."""
