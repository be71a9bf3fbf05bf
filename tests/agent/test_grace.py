"""A device whose certificate expired while it was switched off: back within the grace by proving its old key, or told what to do."""

import time
from datetime import UTC, datetime

import pytest
from cryptography import x509
from tests.support.server import Server, server
from tests.support.server import until as wait_until

from edgeward.agent.certificates import Certificates

SHORT = "[profiles.device]\nlifetime_minutes = 1\nbackdate_minutes = 0\n"


def join(one: Server, node: str, place) -> Certificates:
    (place.parent / f"{node}.token").write_text(one.token(node))
    said = one.home.run(
        "join", f"https://127.0.0.1:{one.https}", "--token", f"@{place.parent / f'{node}.token'}", "--node", node,
        "--dir", place, "--hub", f"127.0.0.1:{one.hub}",
    )  # fmt: skip
    assert said.status == 0, said
    return Certificates(place)


def expired(files: Certificates) -> x509.Certificate:
    """The certificate, once it has really expired."""
    certificate = files.pair().certificate
    while datetime.now(UTC) <= certificate.not_valid_after_utc:
        time.sleep(0.2)
    return certificate


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_within_the_grace_it_comes_back_by_itself_and_after_it_it_says_what_to_type(tmp_path):
    with server(configuration=SHORT + "[enrolment]\nrenewal_grace_hours = 1\n") as one:
        files, other, blocked = (join(one, f"edge-{n}", tmp_path / f"edge-{n}") for n in (1, 2, 3))
        one.revoke("edge-3")
        old, late = expired(files), expired(other)
        expired(blocked)
        log = tmp_path / "agent-1.log"
        agent = one.home.start("agent", "--dir", files.directory, log=log)
        try:
            wait_until(lambda: one.state("edge-1") == "online", "the node back online", 60)
        finally:
            agent.terminate()
            assert agent.wait(20) == 0
        assert files.pair().certificate.serial_number != old.serial_number
        (issued,) = [
            record
            for record in one.audit()
            if record["action"] == "certificate.issued"
            and record["facts"].get("evidence") == f"certificate:{old.serial_number:x}"
        ]
        assert issued["actor"] == "node:edge-1"

        refused = tmp_path / "agent-3.log"
        agent = one.home.start("agent", "--dir", blocked.directory, log=refused)
        try:
            wait_until(lambda: "was not renewed" in refused.read_text(), "the refusal", 30)
        finally:
            agent.terminate()
            agent.wait(20)
        assert "it was revoked" in refused.read_text()

        one.configure(SHORT)  # no grace any more
        one.restart()
        told = tmp_path / "agent-2.log"
        agent = one.home.start("agent", "--dir", other.directory, log=told)
        try:
            wait_until(lambda: "was not renewed" in told.read_text(), "the refusal", 30)
            status = one.home.run("agent", "status", "--dir", other.directory, "--json")
        finally:
            agent.terminate()
            agent.wait(20)
        text = told.read_text()
        assert "it expired at" in text and "it has expired: join again with a new token" in text
        assert "edgeward token new --node" in text and "edgeward join --token @FILE --node edge-2" in text
        assert status.status == 1 and status.json["state"] == "connecting" and "expired" in status.json["last_error"]
        assert other.pair().certificate.serial_number == late.serial_number
        assert any(record["action"].startswith("enrolment.refused.certificate-refused") for record in one.audit())
