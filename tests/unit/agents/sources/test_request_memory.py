"""What a request holds: little in memory, the rest in files, so many bytes in all, and one value of JSON at a time."""

import asyncio
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.agents.sources.http_refusals import RequestError
from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.json_values import MOST_VALUES, JsonError, Values
from headrace.agents.sources.packed import Packed
from headrace.agents.sources.scratch import Scratch, Storage, Turns

BLOCK = bytes(range(256)) * 256  # 64 KiB


def storage(folder: Path, memory_bytes: int = 1 << 20, disk_bytes: int = 1 << 20) -> Storage:
    return Storage(folder, memory_bytes, disk_bytes)


def test_short_bytes_are_in_memory_and_longer_ones_in_a_file_without_a_name(tmp_path: Path) -> None:
    held = storage(tmp_path, memory_bytes=100)
    short, longer = Scratch(held), Scratch(held)
    short.add(b"a" * 60)
    longer.add(b"b" * 30)
    longer.add(b"c" * 30)  # beyond what all may hold in memory
    assert not held.memory.take(41)
    for each, content in ((short, b"a" * 60), (longer, b"b" * 30 + b"c" * 30)):
        with each.opened() as data:
            assert data[:] == content
        assert each.read(29, 3) == content[29:32]
        each.close()
        each.close()
    assert list(tmp_path.iterdir()) == []
    assert held.memory.take(100)
    assert held.disk.take(1 << 20)


def test_beyond_what_the_disk_may_hold_a_client_is_told_to_come_again(tmp_path: Path) -> None:
    held = storage(tmp_path, disk_bytes=3 * len(BLOCK))
    first, second = Scratch(held), Scratch(held)
    for each in (first, first, second):
        each.add(BLOCK + b"x" if each is second else BLOCK[:-1])
    with pytest.raises(RequestError) as told:
        second.add(BLOCK)
    assert (told.value.status, told.value.headers["Retry-After"]) == (503, "1")
    second.close()
    first.add(BLOCK)
    first.close()


def test_a_folder_that_is_gone_is_no_room(tmp_path: Path) -> None:
    scratch = Scratch(storage(tmp_path / "gone"))
    with pytest.raises(RequestError, match="the disk: No such file") as told:
        scratch.add(BLOCK + b"x")
    assert told.value.status == 503


def test_turns_come_in_order_and_who_gives_up_keeps_nobody_waiting() -> None:
    async def check() -> list[str]:
        turns, order, hold = Turns(10), list[str](), asyncio.Event()

        async def work(name: str, weight: int) -> None:
            async with turns.of(weight):
                order.append(name)
                await hold.wait()

        tasks = [asyncio.create_task(work(name, weight)) for name, weight in (("a", 6), ("b", 4), ("c", 99), ("d", 1))]
        await asyncio.sleep(0)
        assert order == ["a", "b"], "together they have all there is"
        tasks[2].cancel()
        hold.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with turns.of(99):
            order.append("alone")
        return order

    assert asyncio.run(check()) == ["a", "b", "d", "alone"]


LINES = st.builds(
    Pushed, st.binary(max_size=20), st.integers(0, 1 << 50), st.text(max_size=5),
    host=st.none() | st.text(min_size=1, max_size=5),
    service=st.none() | st.text(min_size=1, max_size=5), event_time_us=st.none() | st.integers(-(1 << 60), 1 << 60),
    fields=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.text(max_size=5), max_size=3),
    cursor=st.just(""),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(lines=st.lists(LINES, max_size=6), times=st.sampled_from([1, 400]))
def test_packed_lines_are_the_same_lines(tmp_path: Path, lines: list[Pushed], times: int) -> None:
    packed = Packed(storage(tmp_path, disk_bytes=1 << 30))
    for line in lines * times:
        packed.add(line)
    assert [line for piece in packed.pieces() for line in piece] == lines * times
    packed.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4),
    max_leaves=30,
)


@given(st.lists(JSON, max_size=5), st.booleans(), st.sampled_from(["", " \n", " " * 5000]))
def test_values_are_those_that_pythons_own_reader_finds(values: list[Any], ascii_only: bool, space: str) -> None:
    separators = (space + "," + space, ":" + space)
    text = space + json.dumps(values, ensure_ascii=ascii_only, separators=separators) + space
    reader = Values(text.encode("utf-8", "surrogatepass") if ascii_only else text.encode("utf-8", "replace"))
    found = [reader.value() for _ in reader.elements()]
    assert found == json.loads(text.encode("utf-8", "replace"))
    assert reader.next() == b""
    passed = Values(text.encode("utf-8", "replace"))
    passed.skip(2)
    assert passed.next() == b""


@pytest.mark.parametrize("cut", [4095, 4096, 4097, 16_384, 65_536])
def test_a_value_ends_where_it_ends_wherever_a_window_does(cut: int) -> None:
    for text in (f"{'7' * cut}89 ", json.dumps("ü" * cut), json.dumps(["€" * (cut // 3), 1], ensure_ascii=False)):
        body = text.encode()
        values = Values(body)
        if text.startswith("7"):
            values = Values(b'"' + body.strip() + b'"')
        assert values.value() == (text.strip() if text.startswith("7") else json.loads(text))
        assert values.next() == b""


def test_a_number_that_a_window_cuts_is_read_whole() -> None:
    body = b" " * 4090 + b"[" + b" " * 4090 + b"123456789012]"
    values = Values(b"1" * 4000 + b" ")
    assert values.value() == int("1" * 4000)
    reader = Values(body)
    assert [reader.value() for _ in reader.elements()] == [123456789012]


@pytest.mark.parametrize("hostile", [b"[" + b"{}," * 1_000_000 + b"{}]", b"[" * 3_000_000, b'{"a":' * 600_000])
def test_a_value_of_millions_of_values_is_refused_before_it_is_in_memory(hostile: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(JsonError, match=f"more than {MOST_VALUES} values|nested too deep"):
        Values(hostile).value()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
