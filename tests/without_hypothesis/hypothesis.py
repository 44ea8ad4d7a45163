"""Found before Hypothesis by the processes that tests start, so that these are as users have them.

kio imports Hypothesis wherever it is installed, to describe its types to it: 0.2 s of every start.
"""

raise ImportError("Hypothesis is for the process that runs the tests")
