"""Pipelines for tests of runners, in a module that worker processes import."""

import apache_beam as beam

from headrace.errors import StorageError

NUMBERS = (10, 20, 30, 40)


def _pairs(count):
    for number in range(count):
        yield f"k{number % 7}", number


def sums(pipeline):
    """Sums by key: the shape that jobs have."""
    return (
        pipeline
        | beam.Create(NUMBERS, reshuffle=True)
        | beam.FlatMap(_pairs)
        | beam.CombinePerKey(sum)
        | beam.MapTuple(lambda key, total: {"key": key, "total": total})
    )


EXPECTED = [
    {"key": f"k{key}", "total": sum(number for count in NUMBERS for number in range(key, count, 7))} for key in range(7)
]


def nothing(pipeline):
    """A leaf without elements."""
    return pipeline | beam.Create([1, 2]) | beam.Filter(lambda number: number > 2)


def _refused(_):
    raise StorageError("/landed: it is away; bring it back")


def refused(pipeline):
    return pipeline | beam.Create([1]) | "Read rows" >> beam.Map(_refused)
