"""How messages lie in a QUIC stream: whole, bounded before they are kept, however they are cut."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward.errors import InputError, TooLarge, Unreadable
from edgeward.transports.quic_frames import HEADER, PREFIX, Reader, package

LIMIT = 32 * 1024 * 1024


def fed(octets: bytes, cuts: list[int], *, limit: int = LIMIT, prefixed: bool = True) -> list[bytes]:
    reader = Reader(limit, prefixed=prefixed)
    found, at = [], 0
    for cut in [*sorted(min(cut, len(octets)) for cut in cuts), len(octets)]:
        found += reader.feed(octets[at:cut])
        at = cut
    return found


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(0, 3000), max_size=20), st.booleans())
def test_what_was_packed_comes_out_however_it_is_cut(payloads, cuts, prefixed):
    stream = (PREFIX if prefixed else b"") + b"".join(map(package, payloads))
    assert fed(stream, cuts, prefixed=prefixed) == payloads


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_t42_a_message_in_reads_of_one_octet_is_accepted(payloads):
    stream = PREFIX + b"".join(map(package, payloads))
    assert fed(stream, list(range(len(stream)))) == payloads


def test_t39_the_largest_message_passes_and_one_octet_more_is_refused_before_it_is_kept():
    assert [len(one) for one in fed(PREFIX + package(bytes(LIMIT)), [])] == [LIMIT]
    reader = Reader(LIMIT, prefixed=False)
    with pytest.raises(TooLarge, match="33554433"):
        reader.feed(package(bytes(LIMIT + 1))[:HEADER])


@pytest.mark.parametrize("length", [LIMIT + 1, 2**31, 2**32 - 1])
def test_t40_an_announced_length_allocates_nothing(length):
    tracemalloc.start()
    try:
        for _ in range(100):
            reader = Reader(LIMIT, prefixed=False)
            with pytest.raises(TooLarge):
                reader.feed(package(b"")[:6] + length.to_bytes(4, "big") + bytes(100))
        honest = Reader(LIMIT, prefixed=False)
        honest.feed(package(b"")[:6] + LIMIT.to_bytes(4, "big") + b"x")
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
        assert honest.unfinished == 1
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (b"str" + package(b"{}"), "does not begin with `msg`"),
        (b"mxg", "does not begin with `msg`"),
        (package(b"{}"), "does not begin with `msg`"),
        (PREFIX + b"\x01\x01\x01\x00\x01\x00" + bytes(4), "begins with 010101000100"),  # KubeEdge's protobuf
        (PREFIX + b"\x01\x01\x01\x00\x04\x80" + bytes(4), "begins with 010101000480"),  # compressed
        (PREFIX + b"\x02\x00\x00\x00\x04\x00" + bytes(4), "begins with 020000000400"),  # another version
        (PREFIX + package(b"{}") + b"GET / HTTP/1.1\r\n", "its header begins with 474554202f20"),
    ],
)
def test_t39_what_is_no_package_of_ours_is_refused(stream, words):
    with pytest.raises(Unreadable, match=words):
        fed(stream, [])


@settings(max_examples=500)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=10), st.booleans())
def test_t46_garbage_is_refused_and_never_raises_anything_else(octets, cuts, prefixed):
    with contextlib.suppress(InputError):
        fed(octets, cuts, limit=1000, prefixed=prefixed)


@settings(max_examples=300)
@given(st.data())
def test_t46_one_octet_changed_in_a_real_stream_never_raises_anything_else(data):
    stream = bytearray(PREFIX + package(b'{"header":{},"content":1}') + package(b"{}"))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] = data.draw(st.integers(0, 255))
    reader = Reader(1000, prefixed=True)
    try:
        reader.feed(bytes(stream))
    except InputError:
        return
    assert reader.unfinished <= len(stream)
