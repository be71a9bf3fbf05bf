"""The asynchronous client at a real authority: the same calls, shapes and errors as the blocking one, side by side, and cancelled."""

import asyncio
import contextlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeward import client, client_async
from edgeward.client_async import Answered, Client, Gap, MessageEvent, PresenceEvent
from edgeward.errors import NotRunning, Unreachable, UsageError
from tests.support.server import Server, free_port, message, receive, server


@pytest.fixture(scope="module")
def authority() -> Iterator[Server]:
    with server("--api-port", "0") as one:
        yield one


@pytest.fixture(params=["socket", "operator"])
def ask(request: pytest.FixtureRequest, authority: Server) -> Client:
    """A client on the machine of the authority, and one elsewhere."""
    if request.param == "socket":
        return Client(authority.data, timeout=30)
    place = authority.directory / "alice"
    if not place.exists():
        assert authority.run("operator", "new", "alice", "--out", place).status == 0
    port = authority.api("GET", "/v1/status")["api_port"]
    return Client(server=f"https://127.0.0.1:{port}", operator=place, timeout=30)


def test_it_has_what_the_blocking_one_has() -> None:
    blocking = dict(inspect.getmembers(client.Client, inspect.isfunction))
    awaited = dict(inspect.getmembers(client_async.Client, inspect.isfunction))
    shared = {name for name in blocking if not name.startswith("_")} - {"stream"}
    assert shared == {name for name in awaited if not name.startswith("_")}
    for name in shared - {"subscribe", "ask", "call"}:
        assert inspect.signature(blocking[name]) == inspect.signature(awaited[name]), name
        assert awaited[name].__doc__ == blocking[name].__doc__
        assert inspect.iscoroutinefunction(awaited[name]), name
    assert client.__all__ == client_async.__all__


def test_it_sends_waits_and_hears(authority: Server, ask: Client) -> None:
    node = f"edge-{'tcp' if ask.address.startswith('127') else 'unix'}"
    pair = authority.device(node)

    async def tell() -> None:
        async with contextlib.AsyncExitStack() as stack:
            events = await stack.enter_async_context(
                contextlib.aclosing(ask.subscribe(["message", "presence"], node=node))
            )
            first = asyncio.create_task(anext(events))
            held = await ask.send(
                node, operation="update", resource="default/configmap/x", content={"a": 1}, msg_id=node
            )
            assert held.state == "queued"
            assert node in [one.node for one in await ask.queues()]
            while not first.done():  # the subscription stands when it hears of a connection
                connection = await asyncio.to_thread(authority.connect, pair, node)
                stack.callback(connection.close)
                await asyncio.wait({first}, timeout=2)
            assert isinstance(first.result(), PresenceEvent)
            got = await asyncio.to_thread(receive, connection)
            assert got["content"] == {"a": 1}
            connection.send(message("response", got["route"]["resource"], "OK", msg_id="r", parent_msg_id=node))
            connection.send(message("upload", "default/x", {"t": 21}))
            async for event in events:
                if isinstance(event, MessageEvent) and event.message.route.operation == "upload":
                    break
            async with asyncio.timeout(20):
                while (await ask.receipt(node)).state != "acknowledged":
                    await asyncio.sleep(0.02)
            assert await ask.cancel(node) is False
        assert (await ask.node(node)).certificate is not None
        async with asyncio.timeout(20):
            while not (history := await ask.timeline(node)):
                await asyncio.sleep(0.02)
        assert history[-1].event == "online"
        assert node in [one.node for one in await ask.receipts(node)]

    asyncio.run(tell())


def test_calls_run_side_by_side_and_administer(ask: Client) -> None:
    async def tell() -> None:
        made = await asyncio.gather(*(ask.new_token(f"new-{n}") for n in range(20)))
        assert len({one.key_id for one in made}) == 20
        assert {one.key_id for one in made} <= {one.key_id for one in await ask.tokens()}
        assert [await ask.revoke_token(made[0].key_id) for _ in range(2)] == [True, False]
        assert (await ask.call("GET", "/v1/status"))["pin"] == made[0].token.partition(".")[0]
        with pytest.raises(Answered) as caught:
            await ask.send("edge-none", operation="update", resource="x")
        assert (caught.value.code, caught.value.status) == ("not-found", 404)
        with pytest.raises(Answered):
            await ask.revoke("edge-none")
        with pytest.raises(UsageError):
            await ask.call("GET", "/v1/nodes\r\nX: y")

    asyncio.run(tell())


def test_what_is_cancelled_leaves_no_connection(authority: Server, ask: Client) -> None:
    async def tell() -> None:
        waiting = authority.device(f"edge-c{len(ask.address)}") and f"edge-c{len(ask.address)}"
        sending = asyncio.create_task(ask.send(waiting, operation="update", resource="a/b/c", msg_id=waiting, wait=300))
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(Answered):
                    if (await ask.receipt(waiting)).state == "queued":
                        break
                await asyncio.sleep(0.02)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await ask.cancel(waiting) is True

        async def listen() -> None:
            async for _ in ask.subscribe():
                pass

        listening = asyncio.create_task(listen())
        await asyncio.sleep(0)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(tell())


def test_what_a_client_is_told_when_nobody_is_there(tmp_path: Path, authority: Server) -> None:
    async def tell() -> None:
        with pytest.raises(NotRunning):
            await Client(tmp_path).nodes()
        with pytest.raises(UsageError, match="either"):
            Client()
        place = tmp_path / "bob"
        assert authority.run("operator", "new", "bob", "--out", place).status == 0
        with pytest.raises(Unreachable):
            await Client(server=f"https://127.0.0.1:{free_port()}", operator=place).nodes()
        with pytest.raises(Unreachable, match="verify failed"):
            (place / "ca.crt").write_bytes((await other_ca()).encode())
            await Client(server=f"https://127.0.0.1:{authority.https}", operator=place).nodes()

    async def other_ca() -> str:
        with server() as other:
            return str(other.api("GET", "/v1/ca")["pem"])

    asyncio.run(tell())


def test_a_subscription_goes_on_after_a_restart(tmp_path: Path) -> None:
    with server() as authority:
        pair = authority.device("edge-1")
        ask = Client(authority.data)

        async def tell() -> list[object]:
            heard: list[object] = []

            async def listen() -> None:
                async for event in ask.subscribe(types=["presence"]):
                    heard.append(event)

            listening = asyncio.create_task(listen())
            try:
                for again in (True, False):
                    seen = len(heard)
                    async with asyncio.timeout(60):
                        while not any(isinstance(one, PresenceEvent) for one in heard[seen:]):
                            connection = await asyncio.to_thread(authority.connect, pair, "edge-1")
                            await asyncio.sleep(0.2)
                            await asyncio.to_thread(connection.close)
                    if again:
                        await asyncio.to_thread(authority.stop)
                        await asyncio.to_thread(authority.start)
            finally:
                listening.cancel()
            return heard

        assert all(isinstance(one, PresenceEvent | Gap) for one in asyncio.run(tell()))
