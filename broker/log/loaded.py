"""What loading finds of one partition's files: recovery.py makes it, and the log begins with it."""

from dataclasses import dataclass

from headrace.broker.log.producers import ProducerStates
from headrace.broker.log.segment import Segment


@dataclass(frozen=True, slots=True)
class LoadedLog:
    """What was found.

    With `must_checkpoint` the recovery point must move to the end before it is written and before anything is appended: there
    are holes before the end that the next recovery could not explain.
    """

    segments: list[Segment]
    producers: ProducerStates
    epochs: list[tuple[int, int]]
    log_start_offset: int
    recovery_point: int
    must_checkpoint: bool = False
    cleaned_to: int = 0
