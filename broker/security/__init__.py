"""Who a client is, and what it may do: authentication, users, access control lists."""
