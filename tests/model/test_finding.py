"""A finding can be printed as it is, whatever a peer put into it."""

from edgeward.model.finding import Finding, Remedy, Side
from edgeward.pki.severity import Severity


def test_what_comes_from_a_peer_cannot_steer_a_terminal() -> None:
    finding = Finding(
        id="name-mismatch",
        severity=Severity.ERROR,
        side=Side.SERVER,
        what="valid for \x1b[2Jevil",
        why=("it dialled \u202egro.elpmaxe",),
        said=(("go", "x509: certificate is valid for \r\nx, not y"),),
        facts=(("names", "\x07"),),
        remedies=(Remedy(system="edgeward", command="edgeward advertise add 192.0.2.1"),),
    )
    shown = finding.as_json()
    text = repr(finding.what) + repr(finding.why) + repr(finding.said) + repr(finding.facts)
    assert not any(bad in text for bad in ("\x1b", "\u202e", "\r", "\x07"))
    assert len(finding.said[0][1].splitlines()) == 1
    assert (shown["severity"], shown["side"]) == ("error", "server")
    assert shown["remedies"] == [{"system": "edgeward", "command": "edgeward advertise add 192.0.2.1", "words": None}]
