"""The API for operators elsewhere: every request against everybody who may ask, and what a browser or a proxy may try."""

import asyncio
import hashlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.support.world import csr
from tests.web.test_api import Desk, b64, story

from edgeward.errors import BadName, NotFound, PolicyRefused
from edgeward.model.authority import Reason
from edgeward.model.http import Request, Response
from edgeward.services.operators import Operators
from edgeward.web.api import ROUTES
from edgeward.web.openapi import path_of
from edgeward.web.operators import LOCAL, Door

NAMES = ("cloud.example", "10.0.0.1", "::1")

REQUESTS = sorted(
    (method, path_of(pattern).format(key_id="0" * 16, name="edge-1", msg_id="m-1")) for method, pattern, _ in ROUTES
)


async def operator(d: Desk, name: str = "alice") -> bytes:
    """The certificate (DER) of a new operator."""
    return (await Operators(d.w.store, d.w.issuance).new(name, csr(name), actor="operator:socket", now=d.w.now)).der


def door(d: Desk) -> Door:
    return Door(d.api.respond, Operators(d.w.store, d.w.issuance), now=lambda: d.w.now, names=lambda: NAMES)


async def ask(
    d: Desk, der: bytes | None, method: str = "GET", path: str = "/v1/nodes", body: bytes = b"", **headers: str
) -> Response:
    sent = {"host": ("cloud.example:10010",)} | {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return await door(d).respond(
        Request(
            method=method, target=path, headers=sent, body=body, address="192.0.2.9", at=d.w.now, peer_certificate=der
        )
    )


def code(response: Response) -> str:
    return str(msgspec.json.decode(response.body, type=dict[str, Any]).get("code"))


async def presented(d: Desk, who: str) -> bytes | None:
    """What the peer shows; TLS lets none but holders of our certificates through, and the rows decide all the same."""
    match who:
        case "none":
            return None
        case "device":
            return await d.w.enrol("edge-9")
        case "foreign":
            return b"a certificate of somebody else"
        case "server":
            credential = await d.w.authorities.server_credential(("localhost",), d.w.now)
            return credential.certificate
    der = await operator(d)
    if who == "revoked":
        serial = (await d.w.store.certificate(hashlib.sha256(der).digest())).serial  # type: ignore[union-attr]
        await d.w.revoker.revoke(f"serial:{serial}", Reason.UNSPECIFIED, actor="t", now=d.w.now)
    if who == "expired":
        d.w.later(days=91)
    return der


@pytest.mark.parametrize("who", ["none", "device", "foreign", "server", "expired", "revoked"])
def test_t21_nobody_but_an_operator_in_good_standing_gets_an_answer_to_any_request(who: str) -> None:
    async def tell(d: Desk) -> None:
        der = await presented(d, who)
        before = await d.w.store.audit(0, 100_000)
        for method, path in [*REQUESTS, ("GET", "/v1/nothing"), ("BREW", "/v1/nodes")]:
            response = await ask(d, der, method, path)
            assert (response.status, code(response)) == (403, "operator-refused"), (method, path)
        assert await d.w.store.audit(0, 100_000) == before

    story(tell)


def test_t21_an_operator_gets_what_the_socket_gets_but_for_what_stays_on_the_machine() -> None:
    async def tell(d: Desk) -> None:
        await d.w.enrol("edge-1")
        der = await operator(d)
        assert set(REQUESTS) >= LOCAL
        for method, path in REQUESTS:
            response = await ask(d, der, method, path)
            if (method, path) in LOCAL:
                assert (response.status, code(response)) == (403, "local-only"), (method, path)
                continue
            assert response.status != 403, (method, path)
            if response.stream is not None:
                await response.stream.aclose()  # type: ignore[attr-defined]
        made = await ask(d, der, "POST", "/v1/tokens", b'{"node":"edge-2"}')
        assert made.status == 201
        assert (await d.w.store.audit(0, 100_000))[-1].actor == "operator:alice"
        signed = await ask(
            d, der, "POST", "/v1/certificates", msgspec.json.encode({"node": "edge-3", "csr": b64(csr("edge-3"))})
        )
        assert signed.status == 201
        assert "operator:alice" in [record.actor for record in await d.w.store.audit(0, 100_000)]

    story(tell)


@pytest.mark.parametrize(
    "host", ["cloud.example", "CLOUD.example:10010", "10.0.0.1:10010", "[::1]:10010", "cloud.example."]
)
def test_t55_its_own_names_are_its_own(host: str) -> None:
    async def tell(d: Desk) -> None:
        assert (await ask(d, await operator(d), host=host)).status == 200

    story(tell)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:10010", "cloud.example.evil", "10.0.0.2", "", "[::2]", "::1"]
)
def test_t55_a_name_that_is_not_ours_is_misdirected(host: str) -> None:
    async def tell(d: Desk) -> None:
        response = await ask(d, await operator(d), host=host)
        assert (response.status, code(response)) == (421, "misdirected")

    story(tell)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_forwarded_for": "127.0.0.1"}, {"x_forwarded_host": "cloud.example"}, {"forwarded": "for=127.0.0.1"},
        {"x_ssl_client_s_dn": "CN=alice"}, {"x_ssl_client_cert": "x"}, {"origin": "https://evil.example"},
        {"origin": "null"}, {"origin": "https://cloud.example.evil:10010"},
    ],
)  # fmt: skip
def test_t55_nobody_speaks_for_another_and_no_page_of_another_origin_asks(headers: dict[str, str]) -> None:
    async def tell(d: Desk) -> None:
        der = await operator(d)
        response = await ask(d, der, **headers)
        assert (response.status, code(response)) == (400, "bad-request")
        assert (await ask(d, der, origin="https://cloud.example:10010")).status == 200

    story(tell)


def test_t58_a_stream_ends_with_the_certificate() -> None:
    async def tell(d: Desk) -> None:
        device = await d.w.enrol("edge-1")
        der = await operator(d)
        stream = aiter((await ask(d, der, path="/v1/events")).stream)  # type: ignore[arg-type]
        assert (await anext(stream)).startswith(b": connected")
        d.w.later(days=91)
        waiting: asyncio.Future[bytes] = asyncio.ensure_future(anext(stream))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await d.connect("edge-1", device)
        with pytest.raises(StopAsyncIteration):
            await waiting

    story(tell)


@pytest.mark.parametrize("name", ["socket", "up", "sighup"])
def test_nobody_elsewhere_passes_for_who_is_on_the_machine(name: str) -> None:
    """`operator:socket` in the audit log is whoever opened the socket, and nobody else."""

    async def tell(d: Desk) -> None:
        status, said = await d.call("POST", "/v1/operators", {"name": name, "csr": b64(csr(name))})
        assert (status, said["code"]) == (400, "bad-name")

    story(tell)


def test_operators_are_made_listed_and_revoked_by_name() -> None:
    async def tell(d: Desk) -> None:
        status, made = await d.call("POST", "/v1/operators", {"name": "alice", "csr": b64(csr("alice"))})
        assert (status, made["name"]) == (201, "alice")
        assert made["not_after"] == (d.w.now + timedelta(days=90)).isoformat().replace("+00:00", "Z")
        _, (shown,) = await d.call("GET", "/v1/operators")
        assert (shown["name"], shown["certificate"]["serial"]) == ("alice", made["serial"])
        for wrong, status, problem in (
            ({"name": "a b", "csr": b64(csr("x"))}, 400, "bad-name"),
            ({"name": "", "csr": b64(csr("x"))}, 400, "bad-name"),
            ({"name": "a" * 53, "csr": b64(csr("x"))}, 400, "bad-name"),
            ({"name": "a", "csr": "!"}, 400, "bad-request"),
            ({"name": "a", "csr": b64(b"x")}, 400, "unreadable"),
        ):
            await d.refused(status, problem, "POST", "/v1/operators", wrong)
        await d.refused(404, "not-found", "POST", "/v1/revocations", {"target": "operator:bob"})
        status, done = await d.call(
            "POST", "/v1/revocations", {"target": "operator:alice", "reason": "privilegeWithdrawn"}
        )
        assert (status, [one["identity"] for one in done["revoked"]], done["node"]) == (200, ["alice"], None)
        await d.refused(404, "not-found", "POST", "/v1/revocations", {"target": "operator:alice"})
        record = (await d.w.store.audit(0, 100_000))[-1]
        assert (record.action, record.object, record.actor) == ("operator.revoked", "operator:alice", "operator:socket")

    story(tell)


def test_an_operator_s_key_is_nobody_else_s() -> None:
    async def tell(d: Desk) -> None:
        operators = Operators(d.w.store, d.w.issuance)
        request = csr("edge-1")
        await d.w.enrol("edge-1", None, request)
        with pytest.raises(PolicyRefused, match="has a certificate already"):
            await operators.new("alice", request, actor="t", now=d.w.now)
        with pytest.raises(BadName):
            await operators.new("../alice", request, actor="t", now=d.w.now)
        with pytest.raises(NotFound):
            await d.w.revoker.revoke("operator:alice", Reason.UNSPECIFIED, actor="t", now=d.w.now)
        # and a device of that name is another matter
        assert (await ask(d, await d.w.enrol("alice"))).status == 403

    story(tell)


def test_a_request_says_who_asks() -> None:
    request = Request(method="GET", target="/", headers={}, body=b"", address="", at=None)  # type: ignore[arg-type]
    assert replace(request, actor="operator:x").actor == "operator:x"
