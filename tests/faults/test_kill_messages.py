"""`kill -9` while messages flow: what was acknowledged was delivered, what was taken and not acknowledged is queued, order holds."""

import contextlib
import json
import threading
import time

import pytest
import websockets.exceptions

from edgeward.client import Client
from edgeward.errors import EdgewardError
from tests.support.server import Pair, Server, message, server, until

NODES = 3


class Edge(threading.Thread):
    """A node that acknowledges what it gets, and comes back when it is cut."""

    def __init__(self, authority: Server, name: str, pair: Pair) -> None:
        super().__init__(daemon=True)
        self.authority, self.node, self.pair = authority, name, pair
        self.context = authority.context(pair)
        self.seen: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            broken = contextlib.suppress(OSError, EOFError, websockets.exceptions.WebSocketException)
            with broken, self.authority.connect(self.pair, self.node, context=self.context) as connection:
                self.live(connection)
            time.sleep(0.05)

    def live(self, connection) -> None:
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                got = json.loads(connection.recv(timeout=0.5))
                if "seq" in (got.get("content") or {}):
                    self.seen.append(got["content"]["seq"])
                    answer = message(
                        "response", got["route"]["resource"], "OK", msg_id="r", parent_msg_id=got["header"]["msg_id"]
                    )
                    connection.send(answer)


class Sender(threading.Thread):
    """Puts numbered messages for a node until told to stop; one that may not have been taken is put again under the same id."""

    def __init__(self, client: Client, node: str) -> None:
        super().__init__(daemon=True)
        self.client, self.node = client, node
        self.taken = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            seq = self.taken + 1
            try:
                self.client.send(
                    self.node,
                    operation="update",
                    resource="default/configmap/x",
                    content={"seq": seq},
                    msg_id=f"{self.node}-{seq}",
                )
                self.taken = seq
            except EdgewardError:
                time.sleep(0.05)


@pytest.mark.parametrize("kills", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_messages_survive_kills(kills: int) -> None:
    with server(configuration="[hub]\nmessages_per_second = 10000\n") as authority:
        client = Client(authority.data)
        edges = [Edge(authority, f"edge-{n}", authority.device(f"edge-{n}")) for n in range(NODES)]
        senders = [Sender(client, edge.node) for edge in edges]
        for thread in (*edges, *senders):
            thread.start()
        for round_ in range(kills):
            enough = [edge.seen[-1] + 20 if edge.seen else 20 for edge in edges]
            until(
                lambda enough=enough: all(e.seen and e.seen[-1] >= n for e, n in zip(edges, enough, strict=True)),
                "flow",
                60,
            )
            authority.kill()
            known = [(edge, list(edge.seen)) for edge in edges]
            authority.start()
            for edge, seen in known:
                # what is said to be acknowledged had been received before the kill
                receipts = client.receipts(edge.node, limit=1000)
                acknowledged = {int(r.msg_id.rpartition("-")[2]) for r in receipts if r.state == "acknowledged"}
                assert acknowledged <= set(edge.seen), round_
                assert set(seen) <= {int(r.msg_id.rpartition("-")[2]) for r in receipts} | set(
                    range(1, edge.seen[-1] - 900)
                )
        for sender in senders:
            sender.over.set()
            sender.join(10)
        until(lambda: client.queues() == [], "an empty queue", 60)
        for edge in edges:
            edge.over.set()
            edge.join(10)
        for edge, sender in zip(edges, senders, strict=True):
            assert sorted(set(edge.seen)) == list(range(1, sender.taken + 1))  # none lost, none invented
            assert edge.seen == sorted(edge.seen)  # in order, a repetition beside its first
