"""A running authority judged by what it knows: each thing that will fail, on the day from which it is worth saying."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.services.test_story import known, record
from tests.support.fake_cloud import FakeCA
from tests.support.rows import new_record, new_token

from edgeward.model.device import Device, Node
from edgeward.services.doctor import health
from edgeward.services.doctor.story import judge

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
GIB = 1 << 30


def authority(**changes: Any) -> health.Authority:
    facts: dict[str, Any] = {
        "now": NOW, "since": NOW - DAY, "uptime": DAY, "directory": "/data", "issuers": (), "server": None, "nodes": (), "tokens": (),
        "planned": (), "failures": (), "last_record": NOW, "disk_free": 50 * GIB, "disk_total": 100 * GIB,
    }  # fmt: skip
    return health.Authority(**(facts | changes))


def ids(**changes: Any) -> list[str]:
    return [one.id for one in health.judge(authority(**changes))]


def certificate(start: datetime, end: datetime) -> x509.Certificate:
    return FakeCA("Edgeward CA", start=start, end=end).certificate


def node(name: str = "edge-1", ends: timedelta = 300 * DAY, **changes: Any) -> Node:
    held = new_record(name, not_before=NOW + ends - 365 * DAY, not_after=NOW + ends)
    return Node(device=Device(name=name, created_at=NOW, **changes), certificate=held)


def test_a_healthy_authority_has_no_findings() -> None:
    assert ids(issuers=[certificate(NOW - DAY, NOW + 3650 * DAY)], nodes=[node()], tokens=[new_token()]) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"uptime": DAY - timedelta(minutes=10)}, ["clock-jumped"]),
        ({"uptime": DAY + timedelta(minutes=10)}, ["clock-jumped"]),
        ({"uptime": DAY + timedelta(seconds=5)}, []),
        ({"last_record": NOW + timedelta(hours=1)}, ["clock-before-record"]),
        ({"last_record": None}, []),
        ({"disk_free": 1024}, ["disk-full"]),
        ({"disk_free": GIB // 2}, ["disk-low"]),
        ({"disk_free": 4 * GIB}, ["disk-low"]),
        ({"disk_total": 0, "disk_free": 0}, []),
        ({"planned": [NOW - timedelta(hours=1), NOW]}, ["data-planned"]),
        ({"planned": [NOW]}, []),
    ],
)
def test_the_machine(changes: dict[str, Any], expected: list[str]) -> None:
    assert ids(**changes) == expected


def test_the_ca() -> None:
    assert ids(issuers=[certificate(NOW - 3000 * DAY, NOW + 100 * DAY)]) == ["ca-expires"]
    assert ids(issuers=[certificate(NOW - 3000 * DAY, NOW - DAY)]) == ["ca-expired"]
    assert ids(issuers=[certificate(NOW - 100 * DAY, NOW + 265 * DAY)]) == []


def test_the_server_certificate() -> None:
    ca = FakeCA("Edgeward CA")
    key = ec.generate_private_key(ec.SECP256R1())
    late = ca.server("localhost", key=key, start=NOW - 300 * DAY, end=NOW + DAY)
    assert ids(server=late) == ["expires-soon"]
    assert ids(server=ca.server("localhost", key=key, start=NOW - 300 * DAY, end=NOW - DAY)) == ["expired"]


def test_the_nodes() -> None:
    assert ids(nodes=[node(ends=3 * DAY)]) == ["node-certificates-expire"]
    assert ids(nodes=[node(ends=-DAY)]) == ["node-certificates-expired"]
    assert ids(nodes=[node(ends=-DAY, blocked_at=NOW)]) == []
    assert ids(nodes=[node(clock_skew_ms=-90_000)]) == ["node-clocks"]
    assert ids(nodes=[node(clock_skew_ms=30_000)]) == []
    many = health.judge(authority(nodes=[node(f"edge-{n}", ends=-DAY) for n in range(100)]))
    assert (
        many[0].what
        == "100 nodes have no valid certificate any more: edge-0, edge-1, edge-2, edge-3, edge-4 and 95 more"
    )


def test_tokens_for_many_that_end_soon() -> None:
    soon = {"expires_at": NOW + timedelta(hours=2)}
    assert ids(tokens=[new_token(pattern="edge-*", uses=100, **soon)]) == ["tokens-end-unused"]
    assert ids(tokens=[new_token(**soon)]) == []
    assert ids(tokens=[new_token(pattern="edge-*", uses=100, used=100, **soon)]) == []
    assert ids(tokens=[new_token(pattern="edge-*", uses=100, expires_at=NOW - DAY)]) == []


def test_who_keeps_failing() -> None:
    def failures(*records: Any) -> list[Any]:
        return [(one, judge(one, known())) for one in records]

    once = record(code="token-spent", alert="", received=False, reason="spent")
    often = dataclasses.replace(once, count=5)
    burst = dataclasses.replace(often, node="")
    lasting = dataclasses.replace(burst, first_at=once.first_at - health.SPELL)
    assert ids(failures=failures(once)) == []
    assert ids(failures=failures(burst)) == [], "a scan, or a doctor that tries every version of TLS, and is gone"
    assert ids(failures=failures(lasting)) == ["token-spent"]
    assert ids(failures=failures(often, often)) == ["token-spent"]
    # a name that the certificate lacks counts the first time, and once, however many dial it
    assert ids(failures=failures(record(node="edge-1"), record(node="edge-2"))) == ["address-mismatch"]
    many = failures(*(dataclasses.replace(often, node=f"edge-{n}") for n in range(30)))
    assert ids(failures=many) == ["token-spent"] * health.LISTED + ["failures-more"]
    revoked = {"code": "certificate-refused", "alert": "", "received": False, "count": 5, "learnt": None, "dialled": ""}
    kept_out = failures(
        record(**revoked, node="edge-1", reason="the client certificate is refused: it was revoked at 2026"),
        record(**(revoked | {"code": "node-blocked"}), node="edge-1", reason="node edge-1 is blocked: lost"),
    )
    assert ids(failures=kept_out, nodes=[node(blocked_at=NOW)]) == [], (
        "nobody is told for a week of a device that was revoked"
    )
    assert ids(failures=kept_out, nodes=[node()]) == ["client-revoked", "node-blocked"]
    over = [(often, dataclasses.replace(judge(often, known()), severity=health.Severity.NOTE))]
    assert ids(failures=over) == []
