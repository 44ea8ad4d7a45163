"""Log compaction: of every key the last value stays.

`choice` says which log is worth it and how far it may go; `keys` and `rewrite` are what happens to the bytes of a batch;
`clean` does it to the files of one log, in another process; `swap` puts the outcome in place of the old segments, on the loop.
"""
