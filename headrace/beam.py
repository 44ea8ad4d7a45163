"""Apache Beam over logs, for pipelines of one's own: the sources, and one way to run a pipeline anywhere (docs/batch.md).

from headrace.beam import ReadTable, ReadTopic, run_pipeline
"""

from headrace.jobs.batch.runners import RUNNERS, run_pipeline
from headrace.jobs.batch.tables import ReadTable
from headrace.jobs.batch.topics import ReadTopic

__all__ = ["RUNNERS", "ReadTable", "ReadTopic", "run_pipeline"]
