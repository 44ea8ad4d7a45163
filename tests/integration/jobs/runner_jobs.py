"""Pipelines for tests of runners, in a module that worker processes import."""

import apache_beam as beam
from apache_beam.transforms import window

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


def windows_and_sides(pipeline):
    """Sums by window of what happened in it, and an input beside the main one. (Dask does not know windows.)"""
    side = pipeline | "Side" >> beam.Create([100])
    return (
        pipeline
        | beam.Create([1, 2, 61])
        | beam.Map(lambda second: window.TimestampedValue(("k", second), second))
        | beam.WindowInto(window.FixedWindows(60))
        | beam.CombinePerKey(sum)
        | beam.Map(lambda pair, more: pair[1] + more, beam.pvalue.AsSingleton(side))
    )


def nothing(pipeline):
    """A leaf without elements."""
    return pipeline | beam.Create([1, 2]) | beam.Filter(lambda number: number > 2)


def _refused(_):
    raise StorageError("/landed: it is away; bring it back")


def refused(pipeline):
    return pipeline | beam.Create([1]) | "Read rows" >> beam.Map(_refused)
