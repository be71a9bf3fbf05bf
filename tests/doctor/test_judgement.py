"""The judgement as a pure function: facts of a real handshake, changed to what a strange server would have brought, without a socket."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgeward import app_doctor
from edgeward.model.handshake import Address, Alert, Connected, Contact, Handshake, Offer, Outcome, Resolution
from edgeward.services.doctor import live
from edgeward.services.doctor.case import Trust
from edgeward.services.doctor.survey import Ask
from tests.doctor.forge import SERVER, Home, make, root
from tests.doctor.servers import context, listening, tls

CA = root()
GOOD = make("server", CA, names=["127.0.0.1"], usages=[SERVER])


@dataclasses.dataclass
class Nobody:
    """A network in which nothing may be asked any more."""

    def resolve(self, host: str, port: int) -> Resolution:
        raise AssertionError

    def connect(self, addresses: Sequence[Address]) -> Sequence[Connected]:
        raise AssertionError

    def handshake(
        self, address: Address, offer: Offer, question: bytes = b"", only_to: bytes | None = None
    ) -> Handshake:
        raise AssertionError

    def plain(self, address: Address, question: bytes) -> bytes:
        raise AssertionError


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> Handshake:
    home = Home(Path(tmp_path_factory.mktemp("facts"))).server(GOOD)
    with listening(tls(context(home))) as port:
        return app_doctor.network(5).handshake(
            Address(host="127.0.0.1", port=port), Offer(server_name=None), b"GET / HTTP/1.1\r\n\r\n"
        )


def causes(main: Handshake, **more: Any) -> list[str]:
    contact = Contact(
        host="127.0.0.1",
        port=main.address.port,
        name="127.0.0.1",
        connections=(Connected(address=main.address, seconds=0.001),),
        main=main,
        now=datetime.now(UTC),
        **more,
    )
    question = live.Question(
        ask=Ask(host="127.0.0.1", port=main.address.port, name="127.0.0.1"),
        trust=Trust(anchors=(CA.der,), source="given"),
    )
    return [one.id for one in live.judge(question, contact, Nobody(), lambda: b"").diagnosis.findings]


def test_as_it_was_nothing_is_wrong(shaken: Handshake) -> None:
    assert causes(shaken) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"outcome": Outcome.CLOSED}, "closed-at-once"),
        ({"outcome": Outcome.SILENT}, "silent"),
        ({"outcome": Outcome.OURS, "reason": "BAD_SIGNATURE"}, "server-key-mismatch"),
        ({"outcome": Outcome.OURS, "reason": "DH_KEY_TOO_SMALL"}, "handshake-broken"),
        ({"outcome": Outcome.ALERT, "alert": Alert(sender="server", fatal=True, code=80)}, "handshake-refused"),
        ({"outcome": Outcome.ALERT, "alert": Alert(sender="server", fatal=True, code=49)}, "handshake-refused"),
        ({"outcome": Outcome.ALERT, "alert": Alert(sender="server", fatal=True, code=200)}, "handshake-refused"),
        ({"certificates": (b"\x30\x03\x02\x01\x00",)}, "unreadable-certificate"),
        ({"certificates": (b"",)}, "unreadable-certificate"),
        ({"certificates": (), "outcome": Outcome.OURS, "reason": "UNSUPPORTED_PROTOCOL"}, "tls-too-old"),
        (
            {"certificates": (), "outcome": Outcome.ALERT, "alert": Alert(sender="server", fatal=True, code=112)},
            "name-unknown-to-server",
        ),
        (
            {"certificates": (), "outcome": Outcome.ALERT, "alert": Alert(sender="server", fatal=True, code=120)},
            "alpn-refused",
        ),
        ({"certificates": (), "outcome": Outcome.UNCONNECTED, "reason": "gone"}, "closed-at-once"),
    ],
)
def test_a_handshake_that_ends_is_never_called_well(shaken: Handshake, changed: dict[str, Any], expected: str) -> None:
    done = dataclasses.replace(shaken, **({"finished": False, "answer": None} | changed))
    assert causes(done)[:1] == [expected]


def test_the_same_facts_give_the_same_findings(shaken: Handshake) -> None:
    changed = dataclasses.replace(shaken, certificates=(make("x", root("Other CA"), names=["10.0.0.1"]).der,))
    assert causes(changed) == causes(changed) == ["unknown-authority", "address-mismatch"]


def test_a_second_address_with_another_certificate(shaken: Handshake) -> None:
    other = dataclasses.replace(shaken, address=Address(host="127.0.0.2", port=1), certificates=(make("y", CA).der,))
    assert causes(shaken, others=(other,)) == ["addresses-differ"]
    assert causes(shaken, others=(shaken,)) == []


def test_an_address_that_cannot_be_reached_beside_one_that_can(shaken: Handshake) -> None:
    dead = Connected(
        address=Address(host="192.0.2.1", port=1), seconds=5, failure="no-answer", why="no answer within 5 s"
    )
    contact = {"connections": (Connected(address=shaken.address, seconds=0.001), dead)}
    assert causes_with(shaken, **contact) == [("some-addresses-fail", "warning")]
    refused = dataclasses.replace(dead, failure="refused", why="refused")
    assert causes_with(shaken, connections=(contact["connections"][0], refused)) == [("some-addresses-fail", "note")]


def causes_with(main: Handshake, **more: Any) -> list[tuple[str, str]]:
    contact = Contact(
        host="localhost", port=main.address.port, name="127.0.0.1", main=main, now=datetime.now(UTC), **more
    )
    question = live.Question(
        ask=Ask(host="localhost", port=1, name="127.0.0.1"), trust=Trust(anchors=(CA.der,), source="given")
    )
    found = live.judge(question, contact, Nobody(), lambda: b"").diagnosis.findings
    return [(one.id, one.severity.value) for one in found]
