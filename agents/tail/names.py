"""Who is known by which name: streams by topic and path. Pure.

There may be ten thousand names, nearly all with one stream: a name is no object of its own here, and one stream needs no tuple.
"""

from collections.abc import Iterator, Set

from headrace.agents.tail.asleep import Sleeper
from headrace.agents.tail.stream import Stream

Name = tuple[str, str]  # topic, path
Held = Stream | Sleeper


class Names(Set[Name]):
    """The names, and behind each the streams that bear it, in the order in which they came."""

    def __init__(self) -> None:
        self._by_topic: dict[str, dict[str, Held | tuple[Held, ...]]] = {}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, tuple) and name[1] in self._by_topic.get(name[0], ())

    def __iter__(self) -> Iterator[Name]:
        return ((topic, path) for topic, paths in self._by_topic.items() for path in paths)

    def __len__(self) -> int:
        return sum(map(len, self._by_topic.values()))

    def of(self, name: Name) -> tuple[Held, ...]:
        """The streams of a name."""
        held = self._by_topic.get(name[0], {}).get(name[1], ())
        return held if isinstance(held, tuple) else (held,)

    def put(self, name: Name, streams: tuple[Held, ...]) -> None:
        """These are the streams of a name now, and the name is this very text; of none, and it is forgotten."""
        topic, path = name
        paths = self._by_topic.setdefault(topic, {})
        paths.pop(path, None)
        if streams:
            paths[path] = streams if len(streams) > 1 else streams[0]
