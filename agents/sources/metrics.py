"""What sources count beside what every input does (agents/metrics.py)."""

from headrace.agents.metrics import counter

refused_connections = counter(
    "refused_connections", "Peers turned away because as many are connected as may be", ("component_type",)
)
syslog_dropped = counter(
    "syslog_dropped_datagrams", "Datagrams that the kernel had no room for, as it tells of the socket", ("address",)
)
syslog_broken = counter("syslog_broken_streams", "Connections hung up on because what should be a message's length is none", ())
http_requests = counter("http_requests", "Requests to http inputs, by the status that they were answered with", ("status",))
journal_cursors_gone = counter(
    "journal_cursors_gone", "Times that the entry after which a journal was to go on was there no more", ()
)
journal_missing = counter(
    "journal_missing_entries", "Entries that a journal has numbered and that did not come: vacuumed, or not ours to read", ()
)
journal_cut_bytes = counter(
    "journal_cut_bytes", "Bytes of long values in journals that were left out: MESSAGE, others", ("field",)
)
