"""From sockets to requests and back: listeners, connections, their bounds and turns. What requests mean, handlers know."""
