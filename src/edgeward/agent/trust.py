"""Whether a certificate is to be trusted, seen from the edge: the server's after a handshake, our own when it is issued. Pure.

The anchors are the pinned CA certificate, which need not be self-signed, or those of a later trust bundle. The common
name of a server is never looked at (RFC 9525
section 6.3), and every broken rule is reported, because a person at the device will mend them one after the other.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgeward.errors import CertificateRefused, HandshakeFailed, ServerNotTrusted
from edgeward.pki import names, parse

MAX_INTERMEDIATES = 4
"""CA certificates between a server and the anchor. Real hierarchies have one or two; the bound keeps the work small."""

SLOW_CLOCK = timedelta(minutes=5)
"""How far into the future notBefore may lie: KubeEdge does not back-date it, and an edge's clock may be a little behind."""

Anchors = Sequence[x509.Certificate]
"""The CA certificates that are trusted; at least one."""

_Value = TypeVar("_Value", bound=x509.ExtensionType)

_UNDERSTOOD = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
"""The extensions that may be critical here. RFC 5280 section 4.2: a critical one that is not understood refuses the certificate."""


def verify_server(chain: Sequence[bytes], anchors: Anchors, host: str, now: datetime) -> x509.Certificate:
    """The certificate of the server that presented `chain` (DER, its own first), once it is proved to be `host`'s under one of `anchors`.

    `host` is what was dialled: a DNS name or an IP address. Raises `HandshakeFailed` with every broken rule (`ServerNotTrusted` when that
    of the CA is among them), or `Unreadable`.
    """
    presented = [parse.certificate(der) for der in chain[: MAX_INTERMEDIATES + 1]]
    if not presented:
        raise HandshakeFailed(address=host, why="the server presented no certificate")
    leaf = presented[0]
    strange = _path(leaf, presented[1:], anchors, now)
    broken = strange + _time(leaf, now) + _unknown(leaf)
    usages = _extension(leaf, x509.ExtendedKeyUsage)
    if usages is not None and ExtendedKeyUsageOID.SERVER_AUTH not in usages:
        broken.append("the certificate is not for servers (its extended key usage lacks serverAuth)")
    wrong = _name(leaf, host)
    if wrong:
        broken.append(wrong)
    if broken:
        raise (ServerNotTrusted if strange else HandshakeFailed)(address=host, why="; ".join(broken))
    return leaf


def verify_issued(der: bytes, *, anchors: Anchors, key: PublicKeyTypes, node: str, now: datetime) -> x509.Certificate:
    """The client certificate in `der` that was issued for our `key` and `node`: one certificate, signed by one of `anchors` itself.

    A server's answer is checked like this before it replaces anything. Raises `CertificateRefused` with every broken rule, or
    `Unreadable` when it is not exactly one certificate.
    """
    leaf = parse.certificate(der)
    broken = _time(leaf, now) + _unknown(leaf)
    if not any(_issued_by(leaf, ca) for ca in anchors):
        broken.append("it is not signed by the pinned CA")
    if parse.spki(parse.public_key(leaf)) != parse.spki(key):
        broken.append("it is for another key than ours")
    if names.node_of(leaf.subject) != node:
        broken.append(f"its subject is {leaf.subject.rfc4514_string()}, not that of node {node}")
    usages = _extension(leaf, x509.ExtendedKeyUsage)
    if usages is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        broken.append("it is not for clients (its extended key usage lacks clientAuth)")
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        broken.append("it is a CA certificate")
    if broken:
        raise CertificateRefused(why="; ".join(broken))
    return leaf


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether this may be an anchor: a CA that may sign certificates."""
    constraints, usage = _extension(certificate, x509.BasicConstraints), _extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def matches(certificate: x509.Certificate, host: str) -> bool:
    """Whether `host`, an IP address or a DNS name, is among the certificate's subject alternative names (RFC 9525 section 6).

    A wildcard is a whole left-most label and stands for exactly one label.
    """
    alternative = _extension(certificate, x509.SubjectAlternativeName)
    if alternative is None:
        return False
    try:
        return ipaddress.ip_address(host) in alternative.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = host.lower().removesuffix(".")
    parent = wanted.partition(".")[2]
    for name in alternative.get_values_for_type(x509.DNSName):
        presented = name.lower()
        if presented == wanted or (parent.count(".") >= 1 and presented == f"*.{parent}"):
            return True
    return False


def _name(leaf: x509.Certificate, host: str) -> str:
    if matches(leaf, host):
        return ""
    alternative = _extension(leaf, x509.SubjectAlternativeName)
    valid_for = ", ".join(names.show(name) for name in alternative or () if names.show(name))
    return f"the certificate is valid for {valid_for or 'no names at all'}, not for {host}"


def _path(leaf: x509.Certificate, others: Sequence[x509.Certificate], anchors: Anchors, now: datetime) -> list[str]:
    """What is wrong with the way from `leaf` through `others` to an anchor; each CA is used once, in whatever order they came."""
    current, rest, passed = leaf, list(others), 0
    while not (above := [ca for ca in anchors if _issued_by(current, ca)]):
        issuer = next((c for c in rest if _may_issue(c, passed, now) and _issued_by(current, c)), None)
        if issuer is None:
            return ["the certificate is not signed by the pinned CA, nor by one below it that the server presented"]
        rest.remove(issuer)
        current, passed = issuer, passed + 1
    expired = min(
        (_time(ca, now) for ca in above), key=len
    )  # of a CA that was certified again one in its time is enough
    return [f"the pinned CA: {why}" for why in expired]


def _may_issue(certificate: x509.Certificate, below: int, now: datetime) -> bool:
    """Whether this may be the certificate of a CA with `below` CAs under it. RFC 5280 section 6.1.4."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return (
        constraints is not None
        and constraints.ca
        and (constraints.path_length is None or constraints.path_length >= below)
        and (usage is None or usage.key_cert_sign)
        and not _time(certificate, now)
        and not _unknown(certificate)
    )


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _time(certificate: x509.Certificate, now: datetime) -> list[str]:
    if now + SLOW_CLOCK < certificate.not_valid_before_utc:
        start = certificate.not_valid_before_utc.isoformat()
        return [f"it is valid from {start}, and the clock here says {now.isoformat(timespec='seconds')}"]
    if now >= certificate.not_valid_after_utc:
        return [f"it expired at {certificate.not_valid_after_utc.isoformat()}"]
    return []


def _unknown(certificate: x509.Certificate) -> list[str]:
    return [
        f"its critical extension {extension.oid.dotted_string} is not understood here"
        for extension in certificate.extensions
        if extension.critical and not isinstance(extension.value, _UNDERSTOOD)
    ]


def _extension(certificate: x509.Certificate, kind: type[_Value]) -> _Value | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
