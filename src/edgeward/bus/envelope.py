"""How notices travel: several at once, in parts that the bus takes, each with a MAC under a key that replicas share through their store.

Whoever reaches the bus but not the store can neither forge a notice nor say one again that it has recorded: numbers only grow, also from
one life of a replica to the next, because the store counts its lives. What the bus carries is not hidden from it.
"""

import hashlib
import hmac
import itertools
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from edgeward.bus.port import Notice

_MAC = 16
"""Octets: 128 bits cannot be guessed, and a forged notice buys little."""

MAX_PARTS = 16384
"""Of what is said at once: 8 GiB over NATS, 80 MB over the database."""

_LIFE = 2**40
"""Numbers of one life of a replica: a million notices a second for twelve days, and the next life has its own."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
"""What the decoder raises for octets that are none of ours; the second for text that is no UTF-8."""

_UNFINISHED = 32
"""Notices of which parts are missing still; the oldest goes."""


class _Part(msgspec.Struct, frozen=True, array_like=True):
    sender: str
    number: int
    part: int
    parts: int
    body: bytes


class Envelopes:
    """Wraps what `sender` says and unwraps what others said. `room`: octets of a part, all included. `life`: which life of the sender this
    is, a number that is larger than those of all before (below 2**23)."""

    def __init__(self, key: bytes, sender: str, room: int, life: int) -> None:
        self._key = key
        self._sender = sender
        self._room = room - _MAC - len(sender.encode()) - 40
        self._numbers = itertools.count(life * _LIFE + 1)
        self._heard: dict[str, int] = {}  # the number of the last notice of each sender
        self._encoder = msgspec.msgpack.Encoder()
        self._parts = msgspec.msgpack.Decoder(_Part)
        self._notices: msgspec.msgpack.Decoder[Notice] = msgspec.msgpack.Decoder(Notice)
        self._several = msgspec.msgpack.Decoder(list[msgspec.Raw])
        self._unfinished: OrderedDict[tuple[str, int], dict[int, bytes]] = OrderedDict()

    def encoded(self, notice: Notice) -> bytes | None:
        """The octets of a notice; None when it is too large for any bus."""
        octets = self._encoder.encode(notice)
        return octets if len(octets) + 8 <= self._room * MAX_PARTS else None

    def wrap(self, notices: Sequence[bytes]) -> list[bytes]:
        """The parts of what is said at once, as `encoded`."""
        body, number = self._encoder.encode([msgspec.Raw(one) for one in notices]), next(self._numbers)
        pieces = [body[at : at + self._room] for at in range(0, len(body), self._room)]
        return [
            self._sealed(self._encoder.encode(_Part(self._sender, number, n, len(pieces), piece)))
            for n, piece in enumerate(pieces)
        ]

    def unwrap(self, octets: bytes) -> tuple[str, list[Notice]] | None:
        """Who said what, once its last part is there; None for a part, an echo of our own, what was said before, and whatever is not
        from a replica of ours."""
        if not hmac.compare_digest(octets[:_MAC], self._mac(octets[_MAC:])):
            return None
        try:
            one = self._parts.decode(octets[_MAC:])
            if one.sender == self._sender or one.number <= self._heard.get(one.sender, 0):
                return None
            body = one.body if one.parts == 1 else self._gathered(one)
            if body is None:
                return None
            several = self._several.decode(body)
            # only now: a replica of an earlier version counts by its clock, far ahead
            self._heard[one.sender] = one.number
            return one.sender, [notice for each in several for notice in self._notice(each)]
        except _UNREADABLE:
            return None

    def _notice(self, octets: msgspec.Raw) -> tuple[Notice, ...]:
        try:
            return (self._notices.decode(octets),)
        except _UNREADABLE:  # a replica of another version says something new; the rest is for us
            return ()

    def _gathered(self, one: _Part) -> bytes | None:
        key = (one.sender, one.number)
        parts = self._unfinished.setdefault(key, {})
        parts[one.part] = one.body
        if len(parts) < one.parts:
            if len(self._unfinished) > _UNFINISHED:
                self._unfinished.popitem(last=False)
            return None
        del self._unfinished[key]
        return b"".join(parts[n] for n in range(one.parts))

    def _mac(self, octets: bytes) -> bytes:
        return hmac.digest(self._key, octets, hashlib.sha256)[:_MAC]

    def _sealed(self, octets: bytes) -> bytes:
        return self._mac(octets) + octets
