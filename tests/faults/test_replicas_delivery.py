"""Messages to nodes at several replicas: whoever takes one, the replica that has the node delivers it, and nothing acknowledged is lost."""

import contextlib
import json
import threading
from collections.abc import Iterator

import pytest
import websockets.exceptions
import websockets.sync.client

from tests.support.postgres import Cluster
from tests.support.replicas import nats, replicas, within
from tests.support.server import Pair, Server, acknowledged, message


class Edge:
    """A node that acknowledges what it gets, remembers it in order, and comes back wherever it is told to."""

    def __init__(self, name: str, pair: Pair) -> None:
        self.name = name
        self.pair = pair
        self.got: list[str] = []
        self._connection: websockets.sync.client.ClientConnection | None = None

    def connect(self, to: Server) -> None:
        """Connect there, leaving the old connection to be replaced."""
        self._connection = to.connect(self.pair, self.name)
        assert acknowledged(self._connection)
        threading.Thread(target=self._read, args=(self._connection,), daemon=True).start()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _read(self, connection: websockets.sync.client.ClientConnection) -> None:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed, OSError):
            for text in connection:
                one = json.loads(text)
                if one["route"]["operation"] == "update":
                    self.got.append(one["content"])
                    connection.send(
                        message("response", one["route"]["resource"], "OK", parent_msg_id=one["header"]["msg_id"])
                    )


def _send(to: Server, node: str, content: str, wait: float | None = None) -> dict[str, object]:
    body = {"node": node, "operation": "update", "resource": f"default/configmap/{content}", "content": content}
    sent: dict[str, object] = to.api("POST", "/v1/messages", body | ({} if wait is None else {"wait": wait}))
    return sent


@pytest.fixture(scope="module", params=["database", "nats"])
def pair(request: pytest.FixtureRequest, postgres: Cluster) -> Iterator[list[Server]]:
    with contextlib.ExitStack() as stack:
        options = [] if request.param == "database" else ["--bus", stack.enter_context(nats()).url]
        yield stack.enter_context(replicas(postgres, "ab", *options))


def test_a_message_reaches_a_node_at_the_other_replica_and_the_sender_hears_of_it(pair: list[Server]) -> None:
    a, b = pair
    edge = Edge("far", a.device("far"))
    edge.connect(b)
    for n in range(3):
        assert _send(a, "far", f"m-{n}", wait=20)["state"] == "acknowledged"
    edge.connect(a)  # it moves, and so does what is sent from the replica that it left
    assert _send(b, "far", "m-3", wait=20)["state"] == "acknowledged"
    assert edge.got == ["m-0", "m-1", "m-2", "m-3"]
    edge.close()


def test_messages_sent_at_both_keep_the_order_of_their_acknowledgement(pair: list[Server]) -> None:
    a, b = pair
    edge = Edge("ordered", a.device("ordered"))
    edge.connect(b)
    contents = [f"o-{n}" for n in range(30)]
    for n, content in enumerate(contents):
        _send(pair[n % 2], "ordered", content)  # each is answered before the next is sent
    within(lambda: len(edge.got) >= 30, "all of them")
    assert edge.got == contents
    edge.close()


def test_a_replica_that_is_killed_loses_no_message_that_it_took(postgres: Cluster) -> None:
    with replicas(postgres) as (a, b):
        edge = Edge("patient", a.device("patient"))
        edge.connect(b)
        taken, living = [], b
        for n in range(20):
            _send(living, "patient", f"k-{n}")
            taken.append(f"k-{n}")
            if n == 10:
                b.kill()
                living = a  # it takes the rest
                edge.connect(a)
        within(lambda: set(taken) <= set(edge.got), "everything that was taken to arrive")
        first = list(dict.fromkeys(edge.got))
        assert first == taken, "in order, but for repetitions that a node recognises"
        within(lambda: a.api("GET", "/v1/queues") == [], "the queue to be empty")
        edge.close()


def test_without_a_bus_messages_still_arrive(postgres: Cluster) -> None:
    with nats() as bus, replicas(postgres, "ab", "--bus", bus.url) as (a, b):
        edge = Edge("quiet", a.device("quiet"))
        edge.connect(b)
        bus.stop()
        for n in range(3):
            _send(a, "quiet", f"q-{n}")
        within(lambda: edge.got == ["q-0", "q-1", "q-2"], "the queue to be looked at", 40)
        edge.close()
