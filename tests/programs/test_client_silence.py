"""Both clients at a server that says nothing, or no more: whose fault that is, and that nothing is left of a call that was given up."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edgeward import client, client_async
from edgeward.errors import Unreachable

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n["
EVENT = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 1\nevent: gap\n\n"

Scene = Callable[[asyncio.Event, asyncio.Event], Awaitable[None]]


def at_a_server_that_says(words: bytes, directory: Path, scene: Scene) -> None:
    """Play `scene` at a server that says this and waits until the client goes; the events tell that it has come, and that it has gone."""

    async def whole() -> None:
        came, left = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError):  # it went before it had asked
                await reader.readuntil(b"\r\n\r\n")
            came.set()
            writer.write(words)
            await reader.read()
            writer.close()
            left.set()

        async with await asyncio.start_unix_server(serve, str(directory / "admin.sock")), asyncio.timeout(60):
            await scene(came, left)
            await left.wait()

    asyncio.run(whole())


@pytest.mark.parametrize("words", [b"", HEAD], ids=["nothing", "a beginning"])
@pytest.mark.parametrize("kind", [client, client_async], ids=["blocking", "asyncio"])
def test_a_server_that_is_silent_for_too_long_is_not_said_to_have_hung_up(tmp_path: Path, kind, words: bytes) -> None:
    async def scene(_came: asyncio.Event, _left: asyncio.Event) -> None:
        one = kind.Client(tmp_path, timeout=0.2)
        with pytest.raises(Unreachable, match="it does not answer in time"):
            await (asyncio.to_thread(one.nodes) if kind is client else one.nodes())

    at_a_server_that_says(words, tmp_path, scene)


@pytest.mark.parametrize("words", [b"", HEAD], ids=["nothing", "a beginning"])
def test_a_call_that_is_cancelled_closes_its_connection(tmp_path: Path, words: bytes) -> None:
    async def scene(came: asyncio.Event, left: asyncio.Event) -> None:
        asking = asyncio.create_task(client_async.Client(tmp_path).nodes())
        await came.wait()
        assert not left.is_set()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    at_a_server_that_says(words, tmp_path, scene)


def test_a_subscription_ends_with_the_loop_over_it(tmp_path: Path) -> None:
    async def scene(_came: asyncio.Event, left: asyncio.Event) -> None:
        async for event in client_async.Client(tmp_path).subscribe():
            assert isinstance(event, client_async.Gap)
            assert not left.is_set()
            break

    at_a_server_that_says(EVENT, tmp_path, scene)
