"""Whether a certificate is for the peer that was meant. RFC 9525; the common name is never asked.

A reference name is what the caller wanted to reach (`PeerName`); the presented names are those of subjectAltName. A DNS
name matches label by label without regard to case, and a lone `*` as the whole left-most label stands for exactly one
label. An address matches an iPAddress with the same octets, never text. A mailbox matches with its local part as
written and its host without regard to case.
"""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509

from edgeward.errors import BadName, printable
from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.syntax import host_labels, mailbox, pattern_labels
from edgeward.pki.verify.verdict import Check, failed, passed


class NameKind(StrEnum):
    """The kinds of reference name."""

    DNS = "dns"
    IP = "ip"
    EMAIL = "email"


@dataclass(frozen=True, slots=True)
class PeerName:
    """Who the peer should be. Raises `BadName` for a value that is not of its kind: the fault is the caller's."""

    kind: NameKind
    value: str

    def __post_init__(self) -> None:
        if self.kind is NameKind.IP:
            try:
                ipaddress.ip_address(self.value)
            except ValueError as error:
                raise BadName(value=self.value, kind="IP address", why=str(error)) from error
        elif self.kind is NameKind.EMAIL and mailbox(self.value) is None:
            raise BadName(value=self.value, kind="e-mail address", why="it is not local-part@host")
        elif self.kind is NameKind.DNS and host_labels(self.value.removesuffix("."), underscores=True) is None:
            raise BadName(value=self.value, kind="host name", why="labels are letters, digits and inner hyphens")


def dns_matches(presented: str, reference: str) -> bool:
    """Whether the presented dNSName covers the reference host name. RFC 9525 section 6.3."""
    pattern = pattern_labels(presented, underscores=True)
    wanted = host_labels(reference.removesuffix("."), underscores=True)
    if pattern is None or wanted is None or len(pattern) != len(wanted):
        return False
    return pattern == wanted or (pattern[0] == "*" and pattern[1:] == wanted[1:])


def _matches(presented: x509.GeneralName, reference: PeerName) -> bool:
    if reference.kind is NameKind.DNS:
        return isinstance(presented, x509.DNSName) and dns_matches(presented.value, reference.value)
    if reference.kind is NameKind.IP:
        return isinstance(presented, x509.IPAddress) and presented.value == ipaddress.ip_address(reference.value)
    return isinstance(presented, x509.RFC822Name) and mailbox(presented.value) == mailbox(reference.value)


_LABELS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "URI",
}


def _listed(leaf: Facts) -> str:
    """The presented names for people, a dozen at most."""
    san = leaf.extension(x509.SubjectAlternativeName)
    names = [f"{_LABELS[type(name)]}:{name.value}" for name in san or () if type(name) in _LABELS]
    if not names:
        return "no names in subjectAltName"
    return ", ".join(printable(name, 80) for name in names[:12]) + (", …" if len(names) > 12 else "")


def check_name(leaf: Facts, reference: PeerName) -> Check:
    """Whether `leaf` names the peer `reference`. RFC 9525 section 6."""
    san = leaf.extension(x509.SubjectAlternativeName)
    paragraph = "RFC 9525 section 6.3" if reference.kind is NameKind.DNS else "RFC 9525 section 6.4"
    if reference.kind is NameKind.EMAIL:
        paragraph = "RFC 5280 section 4.2.1.6"
    if any(_matches(name, reference) for name in san or ()):
        return passed("name", paragraph, f"it is for {reference.value}", 0, leaf.title)
    words = f"it is not for {reference.value}: it has {_listed(leaf)}"
    common = [str(a.value) for a in leaf.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if reference.value in common:
        words += "; the common name matches, but it does not count"
    kind = {NameKind.DNS: "DNS", NameKind.IP: "IP", NameKind.EMAIL: "email"}[reference.kind]
    remedy = f"issue a certificate whose subjectAltName has {kind}:{reference.value}"
    return failed("name", paragraph, words, 0, leaf.title, remedy)
