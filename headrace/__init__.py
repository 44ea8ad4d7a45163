"""headrace: log lines from app hosts to SQL rows, with proof that every line arrived.

The package holds one symbolic link per part (`agents`, `broker`, `schemas`, `sinks`, `jobs`), so that the parts live at the
top of the repository and are imported as `headrace.<part>`.
"""

__version__ = "0.1.0"
