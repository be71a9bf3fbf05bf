"""The administrative API, route by route: what is answered, in which shape, and how every failure is told."""

import asyncio
import base64
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tests.support.kubeedge_cloud import Cloud
from tests.support.world import NOON, World, csr, world
from tests.test_errors import CLASSES, HOSTILE, example

from edgeward import errors
from edgeward.hub.courier import Settings
from edgeward.hub.serve import Attendance, Hub
from edgeward.model import audit
from edgeward.model import message as messages
from edgeward.model.authority import CertificateRecord
from edgeward.model.delivery import Bounds
from edgeward.model.device import Cause
from edgeward.model.failure import Listener
from edgeward.model.http import Request, Response
from edgeward.services.failures import Failures
from edgeward.services.operators import Operators
from edgeward.services.revoker import Revoker
from edgeward.web.api import ROUTES, Api
from edgeward.web.messages import MSG_ID
from edgeward.web.platform import Platform
from edgeward.web.problems import problem

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SERIAL = re.compile(r"[0-9a-f]{32}")


@dataclass
class Line:
    """A connection that remembers what the hub does with it."""

    address: str = "192.0.2.7"
    sent: list[bytes] = field(default_factory=list)
    ended: str = ""

    def send(self, octets: bytes) -> None:
        self.sent.append(octets)

    def unsent(self) -> int:
        return 0

    def hold(self, seconds: float) -> None:
        """Nothing is read here."""

    def close(self, code: int, reason: str) -> None:
        self.ended = f"closed {code}"

    def abort(self) -> None:
        self.ended = "aborted"


@dataclass
class Desk:
    """The API of an authority in memory, and a few verbs."""

    w: World
    hub: Hub
    api: Api

    async def call(self, method: str, path: str, body: Any = None, raw: bytes | None = None) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        response = await self.respond(method, path, body, raw)
        assert response.content_type in ("application/json", "application/problem+json")
        return response.status, msgspec.json.decode(response.body)

    async def respond(self, method: str, path: str, body: Any = None, raw: bytes | None = None) -> Response:
        octets = raw if raw is not None else b"" if body is None else msgspec.json.encode(body)
        return await self.api.respond(
            Request(method=method, target=path, headers={}, body=octets, address="", at=self.w.now)
        )

    async def refused(
        self, status: int, code: str, method: str, path: str, body: Any = None, raw: bytes | None = None
    ) -> Any:
        """The problem that a call ends with; nothing was changed by it."""
        before = await self.w.store.audit(0, 100_000)
        answered, shown = await self.call(method, path, body, raw)
        assert (answered, shown["code"], shown["status"]) == (status, code, status), shown
        assert shown["type"] == "about:blank"
        assert shown["title"]
        assert await self.w.store.audit(0, 100_000) == before
        return shown

    async def connect(self, node: str, der: bytes) -> tuple[Line, Attendance]:
        """A node on the line."""
        headers = {"connectionuse": ("msg",), "node_id": (node,)}
        upgrade = Request(
            method="GET",
            target="/x/events",
            headers=headers,
            body=b"",
            address="192.0.2.7",
            at=self.w.now,
            peer_certificate=der,
        )
        admitted = await self.hub.admit(upgrade)
        assert isinstance(admitted, Attendance), admitted
        line = Line()
        admitted.opened(line)
        await self.hub.settle()
        return line, admitted


@contextlib.asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    async with world() as w:
        numbers = iter(range(1000))
        failures = Failures(w.store, now=lambda: w.now)
        hub = Hub(
            w.store,
            now=lambda: w.now,
            new_id=lambda: f"id-{next(numbers)}",
            failed=partial(failures.refused, Listener.HUB),
        )

        def cut(records: list[CertificateRecord]) -> None:
            hub.close_certificates([r.fingerprint for r in records if r.fingerprint is not None], Cause.REVOKED)

        async def reload() -> tuple[str, ...]:
            return (await w.authorities.server_credential(("localhost",), w.now)).names

        platform = Platform(
            store=w.store,
            authorities=w.authorities,
            registrar=w.registrar,
            tokens=w.tokens,
            revoker=Revoker(w.store, cut),  # type: ignore[arg-type]
            hub=hub,
            operators=Operators(w.store, w.issuance),
            failures=failures,
            migration=w.migration,
            standing=w.standing,
            reload=reload,
            describe=lambda: {"version": "0", "since": w.now},
            now=lambda: w.now,
            new_id=lambda: f"id-{next(numbers)}",
        )
        yield Desk(w, hub, Api(platform))
        await hub.shutdown()


def story(tell: Callable[[Desk], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with desk() as d:
            await tell(d)
            assert audit.first_bad(await d.w.store.audit(0, 100_000)) is None

    asyncio.run(whole())


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


# ----------------------------------------------------------------------------------------------------------- what it shows


def test_status() -> None:
    async def tell(d: Desk) -> None:
        status, shown = await d.call("GET", "/v1/status")
        assert status == 200
        assert shown == {
            "version": "0",
            "since": "2026-11-23T12:00:00Z",
            "pin": d.w.authorities.active.pin,
            "advertised": [],
        }

    story(tell)


def test_nodes_in_the_shape_that_programs_rely_on() -> None:
    async def tell(d: Desk) -> None:
        assert await d.call("GET", "/v1/nodes") == (200, [])
        ders = {node: await d.w.enrol(node) for node in ("a", "b", "c")}
        d.w.later(minutes=1)
        await d.connect("b", ders["b"])
        line, _ = await d.connect("c", ders["c"])
        assert (await d.call("POST", "/v1/revocations", {"target": "c", "reason": "keyCompromise"}))[0] == 200
        assert line.ended == "aborted"
        await d.hub.settle()
        _, (a, b, c) = await d.call("GET", "/v1/nodes")
        for node, name in ((a, "a"), (b, "b"), (c, "c")):
            assert node["name"] == name
            assert RFC_3339.fullmatch(node["since"])
            assert SERIAL.fullmatch(node["certificate"]["serial"])
            assert node["certificate"]["not_after"] == "2027-11-23T12:00:00Z"
            assert node["certificate"]["serial"] == format(
                x509.load_der_x509_certificate(ders[name]).serial_number, "x"
            )
        assert [n["state"] for n in (a, b, c)] == ["offline", "online", "revoked"]
        assert [n["connected"] for n in (a, b, c)] == [False, True, False]
        assert [n["since"] for n in (a, b, c)] == [
            "2026-11-23T12:00:00Z",
            "2026-11-23T12:01:00Z",
            "2026-11-23T12:01:00Z",
        ]
        assert [n["cause"] for n in (a, b, c)] == [None, None, "keyCompromise"]
        assert (b["address"], b["connections"], b["last_seen"]) == ("192.0.2.7", 1, "2026-11-23T12:01:00Z")
        assert c["certificate"]["revocation_reason"] == "keyCompromise"

    story(tell)


def test_one_node_and_its_history() -> None:
    async def tell(d: Desk) -> None:
        await d.refused(404, "not-found", "GET", "/v1/nodes/edge-1")
        await d.refused(404, "not-found", "GET", "/v1/nodes/edge-1/timeline")
        await d.refused(400, "bad-name", "GET", "/v1/nodes/%2e%2e/timeline")
        _, attendance = await d.connect("edge-1", await d.w.enrol("edge-1"))
        attendance.received(messages.encode(messages.keepalive("k", NOON + timedelta(minutes=3))))
        d.w.later(minutes=1)
        attendance.lost("")
        await d.hub.settle()
        _, node = await d.call("GET", "/v1/nodes/edge-1")
        assert (node["state"], node["cause"], node["clock_skew_ms"], node["refused"]) == (
            "offline",
            "closed",
            180_000,
            None,
        )
        assert node == (await d.call("GET", "/v1/nodes"))[1][0]
        _, history = await d.call("GET", "/v1/nodes/edge-1/timeline")
        assert history == [
            {"at": "2026-11-23T12:01:00Z", "event": "offline", "why": "closed", "address": "192.0.2.7"},
            {
                "at": "2026-11-23T12:00:00Z",
                "event": "clock",
                "why": "its clock is 180.0 s ahead",
                "address": "192.0.2.7",
            },
            {"at": "2026-11-23T12:00:00Z", "event": "online", "why": "", "address": "192.0.2.7"},
        ]

    story(tell)


def test_a_node_that_was_blocked_before_it_came_has_no_certificate() -> None:
    async def tell(d: Desk) -> None:
        await d.w.enrol("a")
        await d.call("POST", "/v1/revocations", {"target": "a"})
        d.w.later(days=400)
        _, (node,) = await d.call("GET", "/v1/nodes")
        assert node["state"] == "revoked"

    story(tell)


def test_the_ca() -> None:
    async def tell(d: Desk) -> None:
        status, shown = await d.call("GET", "/v1/ca")
        certificate = x509.load_pem_x509_certificate(shown["pem"].encode())
        assert status == 200
        assert shown["pin"] == hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()
        assert shown["subject"] == "CN=Edgeward CA test"
        assert (shown["key"], shown["origin"], shown["state"]) == ("EC P-256", "created", "active")
        assert SERIAL.fullmatch(shown["serial"])
        assert RFC_3339.fullmatch(shown["not_after"])

    story(tell)


def test_the_audit_log_in_pages() -> None:
    async def tell(d: Desk) -> None:
        for n in range(3):
            await d.w.token(f"edge-{n}")
        _, records = await d.call("GET", "/v1/audit")
        assert [r["n"] for r in records] == [1, 2, 3, 4, 5]
        assert [r["action"] for r in records[:2]] == ["ca.created", "trust.changed"]
        assert records[2]["facts"]["node"] == "edge-0"
        assert RFC_3339.fullmatch(records[0]["at"])
        assert re.fullmatch(r"[0-9a-f]{64}", records[0]["hash"])
        assert [r["n"] for r in (await d.call("GET", "/v1/audit?after=2"))[1]] == [3, 4, 5]
        assert await d.call("GET", "/v1/audit?after=5") == (200, [])
        assert (await d.call("GET", "/v1/audit?after=x"))[0] == 400
        assert (await d.call("GET", "/v1/audit?since=2"))[0] == 400

    story(tell)


# ----------------------------------------------------------------------------------------------------------------- tokens


def test_a_token_from_its_making_to_its_end() -> None:
    async def tell(d: Desk) -> None:
        status, made = await d.call(
            "POST", "/v1/tokens", {"node": "edge-1", "uses": 2, "network": "10.0.0.0/8", "lifetime_seconds": 60}
        )
        assert status == 201
        text = made.pop("token")
        assert text.count(".") == 3
        assert made == {
            "key_id": text.split(".")[1],
            "state": "valid",
            "node": "edge-1",
            "pattern": None,
            "uses": 2,
            "used": 0,
            "expires_at": "2026-11-23T12:01:00Z",
            "network": "10.0.0.0/8",
            "unblock": False,
            "created_at": "2026-11-23T12:00:00Z",
            "revoked_at": None,
        }
        key_id = made["key_id"]
        assert await d.call("GET", "/v1/tokens") == (200, [made])
        assert text.rpartition(".")[2] not in str(await d.call("GET", "/v1/tokens")) + str(
            await d.call("GET", "/v1/audit")
        )
        assert await d.call("GET", f"/v1/tokens/{key_id}/uses") == (200, [])
        assert await d.call("POST", f"/v1/tokens/{key_id}/revoke") == (200, {"key_id": key_id, "revoked_now": True})
        assert await d.call("POST", f"/v1/tokens/{key_id}/revoke") == (200, {"key_id": key_id, "revoked_now": False})
        assert (await d.call("GET", "/v1/tokens"))[1][0]["state"] == "revoked"

    story(tell)


def test_the_states_of_a_token() -> None:
    async def tell(d: Desk) -> None:
        await d.call("POST", "/v1/tokens", {"node": "edge-1", "lifetime_seconds": 60})
        spent, made = await d.w.token("edge-2")
        await d.w.enrol("edge-2", spent)
        await d.call("POST", "/v1/tokens", {"pattern": "*", "unblock": False})
        d.w.later(minutes=1)
        assert [t["state"] for t in (await d.call("GET", "/v1/tokens"))[1]].count("expired") == 1
        assert {t["state"] for t in (await d.call("GET", "/v1/tokens"))[1]} == {"expired", "spent", "valid"}
        _, (use,) = await d.call("GET", f"/v1/tokens/{made.key_id}/uses")
        assert (use["node"], use["address"], use["at"]) == ("edge-2", "192.0.2.1", "2026-11-23T12:00:00Z")
        assert SERIAL.fullmatch(use["serial"])

    story(tell)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "usage-error"),
        ({"node": "edge-1", "pattern": "*"}, "usage-error"),
        ({"node": "Edge 1"}, "bad-name"),
        ({"node": "edge-1", "uses": 0}, "usage-error"),
        ({"node": "edge-1", "uses": 10**12}, "usage-error"),
        ({"node": "edge-1", "lifetime_seconds": 0}, "usage-error"),
        ({"node": "edge-1", "lifetime_seconds": -5}, "usage-error"),
        ({"node": "edge-1", "lifetime_seconds": 1e300}, "usage-error"),
        ({"node": "edge-1", "network": "10.0.0.1/8"}, "bad-name"),
        ({"pattern": "*", "unblock": True}, "usage-error"),
        ({"node": "edge-1", "ttl": 5}, "bad-request"),
        ({"node": 5}, "bad-request"),
        ({"node": "edge-1", "uses": "3"}, "bad-request"),
        ([], "bad-request"),
        (None, "usage-error"),
    ],
)
def test_a_token_that_makes_no_sense(body: Any, code: str) -> None:
    async def tell(d: Desk) -> None:
        await d.refused(400, code, "POST", "/v1/tokens", body)

    story(tell)


# ------------------------------------------------------------------------------------------------------------ revocations


def test_revocation_by_serial_leaves_the_node_its_way_back() -> None:
    async def tell(d: Desk) -> None:
        der = await d.w.enrol("edge-1")
        line, _ = await d.connect("edge-1", der)
        serial = format(x509.load_der_x509_certificate(der).serial_number, "x")
        status, shown = await d.call(
            "POST", "/v1/revocations", {"target": f"serial:{serial.upper()}", "reason": "superseded"}
        )
        assert status == 200
        assert shown["node"] is None
        assert [(r["serial"], r["identity"], r["revocation_reason"]) for r in shown["revoked"]] == [
            (serial, "edge-1", "superseded")
        ]
        assert line.ended == "aborted"
        assert (await d.call("POST", "/v1/revocations", {"target": f"serial:{serial}"}))[1]["revoked"] == []
        _, (node,) = await d.call("GET", "/v1/nodes")
        assert node["state"] != "revoked"

    story(tell)


def test_revocations_that_make_no_sense() -> None:
    async def tell(d: Desk) -> None:
        await d.refused(404, "not-found", "POST", "/v1/revocations", {"target": "edge-9"})
        await d.refused(404, "not-found", "POST", "/v1/revocations", {"target": "serial:abcd"})
        await d.refused(400, "bad-name", "POST", "/v1/revocations", {"target": "../x"})
        await d.refused(400, "usage-error", "POST", "/v1/revocations", {"target": "serial:xyz"})
        await d.refused(400, "bad-request", "POST", "/v1/revocations", {"target": "edge-1", "reason": "because"})
        await d.refused(400, "bad-request", "POST", "/v1/revocations", {})

    story(tell)


# --------------------------------------------------------------------------------------------------------------- messages


def test_a_message_to_a_node_and_its_answer() -> None:
    async def tell(d: Desk) -> None:
        line, attendance = await d.connect("edge-1", await d.w.enrol("edge-1"))
        body = {"node": "edge-1", "operation": "update", "resource": "default/configmap/x", "content": {"a": [1]}}
        status, shown = await d.call("POST", "/v1/messages", body)
        assert (status, shown["answer"], shown["state"]) == (202, None, "queued")
        sent = messages.decode(line.sent[0])
        assert (sent.header.msg_id, sent.route.operation, sent.route.resource) == (
            shown["msg_id"],
            "update",
            "default/configmap/x",
        )
        assert (sent.route.group, sent.route.source, bytes(sent.content)) == (
            "resource",
            "edgecontroller",
            b'{"a":[1]}',
        )
        asking = asyncio.create_task(d.call("POST", "/v1/messages", body | {"wait": 5, "msg_id": "second"}))
        while (await d.call("GET", "/v1/messages/second"))[0] == 404:
            await asyncio.sleep(0)
        assert (await d.call("GET", f"/v1/messages/{shown['msg_id']}"))[1]["state"] == "sending"
        assert [one["msg_id"] for one in (await d.call("GET", "/v1/receipts?live=1"))[1]] == ["second", shown["msg_id"]]
        assert [(q["node"], q["messages"]) for q in (await d.call("GET", "/v1/queues"))[1]] == [("edge-1", 2)]
        answer = messages.response_to(sent, msgspec.Raw(b'"OK"'), msg_id="r", now=NOON)
        attendance.received(messages.encode(answer))
        while len(line.sent) < 2:
            await asyncio.sleep(0)
        first = (await d.call("GET", f"/v1/messages/{shown['msg_id']}"))[1]
        assert (first["state"], first["answer"], first["attempts"]) == ("acknowledged", "OK", 1)
        asked = messages.decode(line.sent[1])
        answer = messages.response_to(asked, msgspec.Raw(b'"OK"'), msg_id="r", now=NOON)
        attendance.received(messages.encode(answer))
        status, shown = await asking
        assert (status, shown["state"]) == (200, "acknowledged")
        assert await d.call("POST", "/v1/messages", body | {"msg_id": "second"}) == (200, shown | {"answer": None})
        assert shown["answer"]["content"] == "OK"
        assert shown["answer"]["header"]["parent_msg_id"] == shown["msg_id"]

    story(tell)


def test_messages_that_cannot_be_sent() -> None:
    async def tell(d: Desk) -> None:
        body = {"node": "edge-1", "operation": "update", "resource": "x"}
        await d.refused(404, "not-found", "POST", "/v1/messages", body)
        for wrong in (
            {"wait": 0}, {"wait": -1}, {"wait": 3601}, {"wait": "5"}, {"contents": 1}, {"msg_id": ""}, {"msg_id": "a b"},
            {"msg_id": "x" * 129}, {"resourceversion": "1.5"}, {"resourceversion": "9" * 19}, {"lifetime_seconds": 0},
            {"acknowledge": "yes"}, {"operation": "x" * 40_000}, {"resource": "a\0b"}, {"source": "\0"}, {"parent_msg_id": "\0"},
        ):  # fmt: skip
            await d.refused(400, "bad-request", "POST", "/v1/messages", body | wrong)
        await d.refused(400, "bad-name", "POST", "/v1/messages", body | {"node": "Edge"})
        await d.refused(400, "bad-request", "POST", "/v1/messages", {"node": "edge-1"})
        d.hub.courier.settings = Settings(largest=1000)
        await d.refused(413, "too-large", "POST", "/v1/messages", body | {"content": "x" * 1000})
        await d.refused(404, "not-found", "GET", "/v1/messages/nobody")
        await d.refused(404, "not-found", "DELETE", "/v1/messages/nobody")
        many = "&".join(f"n{number}=1" for number in range(65))
        for query in ("live=2", "live=", "before=x", "limit=5000", "limit=1&limit=2", "other=1", "node=%00", many):
            status, _ = await d.call("GET", f"/v1/receipts?{query}")
            assert status == 400, query

    story(tell)


def test_messages_wait_for_a_node_that_is_away_until_its_queue_is_full() -> None:
    async def tell(d: Desk) -> None:
        await d.w.enrol("edge-1")
        d.hub.courier.settings = Settings(bounds=Bounds(messages=2, octets=10_000))
        body = {"node": "edge-1", "operation": "update", "resource": "default/configmap/x"}
        for msg_id in ("a", "b"):
            assert await d.call("POST", "/v1/messages", body | {"msg_id": msg_id}) == (
                202, {"msg_id": msg_id, "node": "edge-1", "state": "queued", "answer": None},
            )  # fmt: skip
        full = await d.refused(429, "queue-full", "POST", "/v1/messages", body | {"msg_id": "c"})
        assert (full["node"], full["waiting"], full["max_messages"], full["max_octets"]) == ("edge-1", 2, 2, 10_000)
        assert "edgeward message list" in full["hint"]
        await d.refused(409, "message-conflict", "POST", "/v1/messages", body | {"msg_id": "a", "content": 1})
        assert (await d.call("POST", "/v1/messages", body | {"msg_id": "a"}))[0] == 202
        assert await d.call("DELETE", "/v1/messages/a") == (200, {"msg_id": "a", "cancelled_now": True})
        assert await d.call("DELETE", "/v1/messages/a") == (200, {"msg_id": "a", "cancelled_now": False})
        assert (await d.call("POST", "/v1/messages", body | {"msg_id": "c"}))[0] == 202
        await d.call("POST", "/v1/revocations", {"target": "edge-1"})
        assert (await d.call("GET", "/v1/messages/c"))[1]["state"] == "refused"
        await d.refused(403, "node-blocked", "POST", "/v1/messages", body)

    story(tell)


def test_what_nodes_send_as_lines_of_json() -> None:
    async def tell(d: Desk) -> None:
        _, attendance = await d.connect("edge-1", await d.w.enrol("edge-1"))
        response = await d.respond("GET", "/v1/messages")
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
        assert response.stream is not None
        lines = aiter(response.stream)
        first: asyncio.Future[bytes] = asyncio.ensure_future(anext(lines))
        while not d.hub._watchers:
            await asyncio.sleep(0)
        made = messages.make(msgspec.Raw(b'{"t":20}'), msg_id="m", now=NOON, operation="upload", resource="default/x")
        attendance.received(messages.encode(made))
        line = await asyncio.wait_for(first, 5)
        assert line.endswith(b"\n")
        shown = msgspec.json.decode(line)
        assert (shown["node"], shown["received"]) == ("edge-1", "2026-11-23T12:00:00Z")
        assert shown["message"]["content"] == {"t": 20}
        assert shown["message"]["route"]["operation"] == "upload"
        await lines.aclose()  # type: ignore[attr-defined]
        assert not d.hub._watchers

    story(tell)


async def sse(stream: AsyncIterator[bytes]) -> tuple[str, str, Any]:
    """The next event of a stream: its id, its type, its data; comments are left out."""
    while True:
        fields = dict(
            line.split(": ", 1)
            for line in (await asyncio.wait_for(anext(stream), 5)).decode().splitlines()
            if line[:1] not in ("", ":")
        )
        if "event" in fields:
            return fields.get("id", ""), fields["event"], msgspec.json.decode(fields["data"])


def test_server_sent_events_go_on_where_they_broke_off() -> None:
    async def tell(d: Desk) -> None:
        der = await d.w.enrol("edge-1")
        response = await d.respond("GET", "/v1/events?node=edge-*")
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.stream is not None
        stream = aiter(response.stream)
        assert (await anext(stream)).startswith(b": connected\nretry: ")
        _, attendance = await d.connect("edge-1", der)
        first, kind, shown = await sse(stream)
        assert (kind, shown) == (
            "presence",
            {
                "type": "presence",
                "node": "edge-1",
                "at": "2026-11-23T12:00:00Z",
                "state": "online",
                "address": "192.0.2.7",
            },
        )
        await stream.aclose()  # type: ignore[attr-defined]
        made = messages.make(msgspec.Raw(b'{"t":20}'), msg_id="m", now=NOON, operation="upload", resource="default/x")
        attendance.received(messages.encode(made))
        for asked in (f"after={first}", f"type=message&after={first}"):
            again = aiter((await d.respond("GET", f"/v1/events?{asked}")).stream)  # type: ignore[arg-type]
            _, kind, shown = await sse(again)
            assert (kind, shown["message"]["content"], shown["received"]) == (
                "message",
                {"t": 20},
                "2026-11-23T12:00:00Z",
            )
            await again.aclose()
        gone = aiter((await d.respond("GET", "/v1/events?after=other-7")).stream)  # type: ignore[arg-type]
        assert (await sse(gone))[1] == "gap"
        await gone.aclose()
        for wrong in ("type=x", "type=", "nodes=x", "node=" + "x" * 300, "node=*a*a*a*a*a", "node=a&node=b"):
            await d.refused(400, "bad-request", "GET", f"/v1/events?{wrong}")
            await d.refused(400, "bad-request", "GET", f"/v1/messages?{wrong}")

    story(tell)


# ---------------------------------------------------------------------------------------------------- certificates, the CA


def test_a_vendor_s_request_is_signed() -> None:
    async def tell(d: Desk) -> None:
        request = csr([(x509.NameOID.COMMON_NAME, "device 7")])
        status, shown = await d.call("POST", "/v1/certificates", {"node": "edge-7", "csr": b64(request)})
        assert status == 201
        certificate = x509.load_pem_x509_certificate(shown["pem"].encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(shown["ca_pem"].encode()))
        assert certificate.subject.rfc4514_string() == "CN=system:node:edge-7,O=system:nodes"
        assert shown["serial"] == format(certificate.serial_number, "x")
        assert shown["not_after"] == "2027-11-23T12:00:00Z"
        assert shown["dropped"] == ["common name device 7 instead of system:node:edge-7"]
        line, _ = await d.connect("edge-7", certificate.public_bytes(serialization.Encoding.DER))
        assert not line.ended

    story(tell)


def test_requests_that_are_not_signed() -> None:
    async def tell(d: Desk) -> None:
        good = b64(csr("edge-1"))
        broken = bytearray(csr("edge-1"))
        broken[-3] ^= 1
        for body, status, code in (
            ({"node": "edge-1", "csr": "!!!"}, 400, "bad-request"),
            ({"node": "edge-1", "csr": "é"}, 400, "bad-request"),
            ({"node": "edge-1", "csr": b64(b"garbage")}, 400, "unreadable"),
            ({"node": "edge-1", "csr": ""}, 400, "unreadable"),
            ({"node": "edge-1", "csr": b64(bytes(100_000))}, 413, "too-large"),
            ({"node": "edge-1", "csr": b64(bytes(broken))}, 400, "bad-proof"),
            ({"node": "Edge", "csr": good}, 400, "bad-name"),
            ({"csr": good}, 400, "bad-request"),
            ({"node": "edge-1", "csr": good, "profile": "ca"}, 400, "bad-request"),
        ):
            await d.refused(status, code, "POST", "/v1/certificates", body)
        await d.w.enrol("edge-1")
        await d.call("POST", "/v1/revocations", {"target": "edge-1"})
        blocked = await d.refused(403, "node-blocked", "POST", "/v1/certificates", {"node": "edge-1", "csr": good})
        assert "--unblock" in blocked["hint"]

    story(tell)


def test_a_kubeedge_ca_is_imported_with_its_tokens(kubeedge: dict[str, Any]) -> None:
    async def tell(d: Desk) -> None:
        d.w.now = datetime.fromisoformat("2026-11-23T13:30:00Z")
        body = {
            "certificate": b64(kubeedge["ca"]["certificate_der"]),
            "key": b64(kubeedge["ca"]["private_key_sec1_der"]),
            "kubeedge_tokens": {"pattern": "*", "until": "2026-12-23T00:00:00Z"},
        }
        status, shown = await d.call("POST", "/v1/ca/import", body)
        assert status == 200, shown
        assert shown["pin"] == kubeedge["token"][:64] == (await d.call("GET", "/v1/status"))[1]["pin"]
        assert "it may not sign CRLs (no cRLSign)" in shown["deviations"]
        assert (await d.call("GET", "/v1/ca"))[1]["origin"] == "imported"
        await d.w.enrol("edge-1")
        assert (await d.call("POST", "/v1/ca/import", body))[0] == 200, "what is done already stays"
        other = Cloud.new(now=d.w.now)
        foreign = {"certificate": b64(other.der), "key": b64(other.key_der)}
        await d.refused(409, "already-exists", "POST", "/v1/ca/import", foreign)

    story(tell)


def test_imports_that_make_no_sense_change_nothing(kubeedge: dict[str, Any]) -> None:
    async def tell(d: Desk) -> None:
        d.w.now = datetime.fromisoformat("2026-11-23T13:30:00Z")
        good = {
            "certificate": b64(kubeedge["ca"]["certificate_der"]),
            "key": b64(kubeedge["ca"]["private_key_sec1_der"]),
        }
        other = b64(d.w.keys.export(d.w.authorities.active.key))
        for wrong, code in (
            ({"certificate": "!"}, "bad-request"),
            ({"certificate": b64(b"x")}, "unreadable"),
            ({"key": b64(b"x")}, "unreadable"),
            ({"key": other}, "unreadable"),
            ({"more": 1}, "bad-request"),
            ({"kubeedge_tokens": {"pattern": "*", "until": "2026-12-23T00:00:00"}}, "bad-request"),
            ({"kubeedge_tokens": {"pattern": "*", "until": "tomorrow"}}, "bad-request"),
            ({"kubeedge_tokens": {"pattern": "*", "until": "2026-11-23T00:00:00Z"}}, "usage-error"),
        ):
            await d.refused(400, code, "POST", "/v1/ca/import", good | wrong)
        assert (await d.call("GET", "/v1/ca"))[1]["origin"] == "created"

    story(tell)


def test_the_key_is_exported_only_when_it_is_asked_for_by_name() -> None:
    async def tell(d: Desk) -> None:
        status, shown = await d.call("POST", "/v1/ca/export")
        assert (status, list(shown)) == (200, ["certificate"])
        assert base64.b64decode(shown["certificate"]) == d.w.authorities.active.certificate
        _, shown = await d.call("POST", "/v1/ca/export", {"with_key": True})
        assert base64.b64decode(shown["key"]) == d.w.keys.export(d.w.authorities.active.key)
        assert (await d.w.store.audit())[-1].action == "ca.key-exported"

    story(tell)


def test_the_advertised_names() -> None:
    async def tell(d: Desk) -> None:
        assert await d.call("GET", "/v1/advertised") == (200, {"names": []})
        status, shown = await d.call("PUT", "/v1/advertised", {"names": ["Cloud.example", "10.0.0.1"]})
        assert (status, shown["names"]) == (200, ["cloud.example", "10.0.0.1"])
        assert shown["certificate_names"] == ["cloud.example", "10.0.0.1", "localhost"]
        await d.refused(400, "bad-name", "PUT", "/v1/advertised", {"names": ["ok.example", "not ok"]})
        await d.refused(400, "bad-request", "PUT", "/v1/advertised", {"names": "x"})
        await d.refused(400, "bad-request", "PUT", "/v1/advertised", {})
        assert (await d.call("GET", "/v1/advertised"))[1] == {"names": ["cloud.example", "10.0.0.1"]}

    story(tell)


# --------------------------------------------------------------------------------------------------------------- the rest

_PATHS = sorted(
    {
        pattern.replace(r"([0-9a-f]{16})", "0" * 16).replace(f"({MSG_ID})", "m-1").replace("([^/]{1,253})", "edge-1")
        for _, pattern, _ in ROUTES
    }
)


@pytest.mark.parametrize("path", _PATHS)
def test_t22_every_route_answers_its_methods_and_no_other(path: str) -> None:
    async def tell(d: Desk) -> None:
        offered = {method for method, pattern, _ in ROUTES if re.fullmatch(pattern, path)}
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"):
            if method not in offered:
                response = await d.respond(method, path)
                assert response.status == 405
                assert set(dict(response.headers)["Allow"].split(", ")) == offered

    story(tell)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/",
        "/v2/nodes",
        "/v1/nodes/",
        "/v1/nodes/x/y",
        "/v1/tokens/xyz/uses",
        "/v1/tokens/" + "0" * 17 + "/uses",
        "/v1/../v1/ca",
    ],
)
def test_t22_what_is_not_in_the_table_does_not_exist(path: str) -> None:
    async def tell(d: Desk) -> None:
        for method in ("GET", "POST"):
            await d.refused(404, "not-found", method, path)

    story(tell)


@pytest.mark.parametrize(
    "raw",
    [b"{", b"\xff", b"null", b"[" * 100_000, b'{"node":"edge-1","x":' + b"[" * 100_000, b'"' + b"x" * 1000, b"{}{}"],
)
@pytest.mark.parametrize(
    "path", ["/v1/tokens", "/v1/revocations", "/v1/messages", "/v1/certificates", "/v1/ca/import", "/v1/ca/export"]
)
def test_a_body_that_is_no_json_of_ours_is_a_bad_request(path: str, raw: bytes) -> None:
    async def tell(d: Desk) -> None:
        await d.refused(400, "bad-request", "POST", path, raw=raw)

    story(tell)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("value", ["something", HOSTILE], ids=["plain", "hostile"])
def test_every_failure_is_a_problem(kind: type[errors.EdgewardError], value: str) -> None:
    error = example(kind, value)
    response = problem(error)
    shown = msgspec.json.decode(response.body)
    assert response.content_type == "application/problem+json"
    assert shown == {
        "title": str(error),
        "status": response.status,
        "code": error.code,
        "hint": error.hint,
        "exit_status": kind.exit_status,
        "type": "about:blank",
    } | dict.fromkeys(kind.members, errors.printable(value))
    assert 400 <= response.status <= 503


def test_times_of_a_later_day_are_utc_too() -> None:
    async def tell(d: Desk) -> None:
        d.w.later(days=200)
        _, made = await d.call("POST", "/v1/tokens", {"node": "edge-1"})
        assert made["created_at"] == (NOON + timedelta(days=200)).isoformat().replace("+00:00", "Z")

    story(tell)
