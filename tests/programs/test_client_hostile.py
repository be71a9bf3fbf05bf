"""Both clients against a server that has the right certificate and answers whatever it likes: an answer or an error, no traceback."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeward import client, client_async, testing
from edgeward.client import Answered, Client
from edgeward.errors import EdgewardError, TooLarge, Unreachable, UsageError

_CLOSE = b"Connection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + _CLOSE
NO = b"HTTP/1.1 400 No\r\n" + _CLOSE

ANSWERS = {
    "a status that is no number": NO + b'{"status":"x"}',
    "an exit status that is a list": NO + b'{"exit_status":[1]}',
    "a problem that is a list": NO + b"[]",
    "a problem without end": NO + b"[" * 100_000,
    "a problem that is no UTF-8": NO + b'{"title":"\xff\xfe"}',
    "broken JSON": OK + b"[{]",
    "no UTF-8": OK + b'"\xff"',
    "an event that is no UTF-8": OK + b"event: message\ndata: \xff\n\n",
    "an event that is none": OK + b"event: message\ndata: {}\n\n",
    "depth": OK + b"[" * 100_000,
    "an upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nxyz",
    "an id that is no header": OK + "id: \u2603\nevent: gap\n\n".encode(),
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n" + _CLOSE,
    "a length that is too large": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n" + _CLOSE + b"{}",
    "a length that is not met": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n" + _CLOSE + b"{}",
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + _CLOSE + b"zz\r\n",
    "no HTTP": b"garbage\r\n\r\n",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
}

CALLS: dict[str, Callable[[Client], Any]] = {
    "typed": lambda client: client.nodes(),
    "call": lambda client: client.call("GET", "/v1/nodes"),
    "stream": lambda client: next(client.stream("/v1/messages")),
    "subscribe": lambda client: next(client.subscribe(again=False)),
    "async typed": lambda client: awaited(client, lambda one: one.nodes()),
    "async call": lambda client: awaited(client, lambda one: one.call("GET", "/v1/nodes")),
    "async subscribe": lambda client: awaited(client, lambda one: anext(one.subscribe(again=False))),
}


def awaited(blocking: Client, ask: Callable[[client_async.Client], Any]) -> Any:
    """What the asynchronous client of the same server is answered."""

    async def whole() -> Any:
        one = client_async.Client(server=f"https://{blocking.address}", operator=blocking.operator, timeout=10)  # type: ignore[attr-defined]
        return await ask(one)

    return asyncio.run(whole())


@contextlib.contextmanager
def answering(directory: Path, answer: bytes) -> Iterator[Client]:
    """A client of a server that answers this to everything."""
    authority = testing.authority()
    server, ours = authority.server("127.0.0.1"), authority.client("alice")
    for name, octets in (
        ("ca.crt", authority.certificate), ("operator.crt", ours.certificate), ("operator.key", ours.key),
        ("server.pem", server.certificate + server.key),
    ):  # fmt: skip
        (directory / name).write_bytes(octets)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(listening.accept()[0], server_side=True) as peer:
            peer.recv(65536)
            peer.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        one = Client(server=f"https://127.0.0.1:{listening.getsockname()[1]}", operator=directory, timeout=10)
        one.operator = directory  # type: ignore[attr-defined]
        yield one


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_a_server_answers_is_an_answer_or_an_error(tmp_path: Path, answer: str, call: str) -> None:
    with answering(tmp_path, ANSWERS[answer]) as one:
        try:
            CALLS[call](one)
        except EdgewardError as error:
            assert str(error).isprintable()
            assert error.exit_status != 0


def test_t51_the_words_of_a_server_move_no_cursor(tmp_path: Path) -> None:
    hostile = rb'{"status":400,"title":"\u001b[2J\u009b31m","hint":"\u001b]0;x\u0007","exit_status":0}'
    with answering(tmp_path, NO + hostile) as one, pytest.raises(Answered) as caught:
        one.nodes()
    assert str(caught.value).isprintable() and caught.value.hint.isprintable()
    assert caught.value.exit_status == 1, "a refusal is no success, whatever the server says"


@pytest.mark.parametrize("after", ["1\r\nHost: x", "1\r\n\r\nPOST /v1/revocations HTTP/1.1", "\u2603", "\0", "\ud800"])
def test_an_id_that_is_none_is_never_part_of_a_request(tmp_path: Path, after: str) -> None:
    """A program may have it from a stranger, as a browser's `Last-Event-ID`."""
    with answering(tmp_path, OK) as one:
        with pytest.raises(UsageError, match="is no id of an event"):
            next(one.subscribe(after=after, again=False))
        with pytest.raises(UsageError, match="is no id of an event"):
            awaited(one, lambda other: anext(other.subscribe(after=after, again=False)))


def test_an_answer_and_an_event_have_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client, client_async):
        monkeypatch.setattr(module, "MAX_ANSWER", 1000)
        monkeypatch.setattr(module, "MAX_LINE", 1000)
    for call in CALLS.values():
        with answering(tmp_path, OK + b"x" * 2000) as one, pytest.raises((TooLarge, Unreachable)) as caught:
            call(one)
        assert isinstance(caught.value, TooLarge)
