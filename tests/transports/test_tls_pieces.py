"""The TLS driver and how records are cut into reads, without a network: what the protocol above gets, and in how many pieces."""

import asyncio
import os
import ssl
from typing import Any

import pytest

from edgeward.transports import contexts, tls, tls_server
from tests.support.tls import CA, DEVICE, SERVER, client_context

RECORD = 16384


class Wire(asyncio.Transport):
    """A TCP connection of which only the server's end exists."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.sent = b""

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None: ...


class Above(asyncio.Protocol):
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)


def opened() -> tuple[tls.Connection, Above, ssl.SSLObject, ssl.MemoryBIO]:
    """A connection whose handshake is done, what is above it, and the client with what it has to send."""
    above = Above()
    context = contexts.hub_context(certificate=SERVER.pem, key=SERVER.key, anchors=[CA.der])
    listener = tls_server.Listener(context=lambda: context, inner=lambda: above, refused=lambda _: None, mutual=True)
    connection, wire = listener(), Wire()
    assert isinstance(connection, tls.Connection)
    connection.connection_made(wire)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(DEVICE).wrap_bio(incoming, outgoing, server_hostname="localhost")
    for _ in range(2):
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            connection.data_received(outgoing.read())
            incoming.write(wire.sent)
    connection.data_received(outgoing.read())
    return connection, above, client, outgoing


@pytest.mark.parametrize("tail", [1, 2, 21, 22, 23, 4096, RECORD])
@pytest.mark.parametrize("size", [1, 100, RECORD])
def test_a_record_in_two_reads_comes_whole_and_in_two_pieces_at_most(size: int, tail: int) -> None:
    async def scene() -> None:
        connection, above, client, outgoing = opened()
        sent = os.urandom(size)
        client.write(sent)
        record = outgoing.read()
        cut = max(0, len(record) - tail)
        for part in (record[:cut], record[cut:]):
            if part:
                connection.data_received(part)
        assert b"".join(above.pieces) == sent
        assert len(above.pieces) <= 2

    asyncio.run(scene())


def test_records_in_one_read_with_the_beginning_of_another_come_in_their_order() -> None:
    async def scene() -> None:
        connection, above, client, outgoing = opened()
        sent = [os.urandom(n) for n in (1, 500, 3000, 7)]
        for one in sent:
            client.write(one)
        octets = outgoing.read()
        connection.data_received(octets[:-5])
        assert above.pieces == sent[:-1]
        connection.data_received(octets[-5:])
        assert b"".join(above.pieces) == b"".join(sent)
        client.write(b"last")
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
        connection.data_received(outgoing.read())
        assert above.pieces[-1] == b"last"
        assert connection.is_closing()

    asyncio.run(scene())
