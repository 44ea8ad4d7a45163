"""The answers of one connection: several may be worked on at once, and they leave in the order of their requests."""

import asyncio
from collections import deque
from typing import Any

from headrace.broker.network.sending import Sender, bytes_in_memory


class Slot:
    """The place of one request's answer among those of its connection."""

    __slots__ = ("answered", "held_bytes", "parts")

    def __init__(self, request_bytes: int) -> None:
        self.answered = False
        self.held_bytes = request_bytes  # of the request, then of the answer
        self.parts: list[Any] = []  # empty: nothing is sent


class Answers:
    """Those that are worked on, and those that wait for one before them."""

    __slots__ = ("_sender", "_transport", "held_bytes", "slots")

    def __init__(self, transport: asyncio.Transport, sender: Sender) -> None:
        self._transport, self._sender = transport, sender
        self.slots: deque[Slot] = deque()
        self.held_bytes = 0  # of requests that are worked on, and of answers that wait

    @property
    def are_worked_on(self) -> bool:
        """Whether one is not there yet."""
        return any(not slot.answered for slot in self.slots)

    def expect(self, request_bytes: int) -> Slot:
        """A place for the answer of a request of so many bytes, after all before it."""
        slot = Slot(request_bytes)
        self.slots.append(slot)
        self.held_bytes += request_bytes
        return slot

    def came(self, slot: Slot, parts: list[Any]) -> None:
        """The answer that was expected; it is sent with those that waited for it, or waits too."""
        self.held_bytes -= slot.held_bytes
        slot.answered, slot.parts, slot.held_bytes = True, parts, bytes_in_memory(parts)
        self.held_bytes += slot.held_bytes
        while self.slots and self.slots[0].answered:
            slot = self.slots.popleft()
            self.held_bytes -= slot.held_bytes
            if slot.parts and not self._transport.is_closing():
                self._sender.send(slot.parts)

    def add(self, parts: list[Any]) -> None:
        """An answer that is there at once."""
        if self.slots:
            self.came(self.expect(0), parts)
        else:
            self._sender.send(parts)

    def clear(self) -> None:
        """Nothing more is sent."""
        self.slots.clear()
        self.held_bytes = 0
