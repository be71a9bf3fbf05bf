"""Certificate revocation lists, pure: a plan, its octets, the signature, and the list read back and compared. RFC 5280 section 5.

The encoding is ours: the library's builder copies what it has for each entry that is added, which takes minutes for a hundred thousand.
A list is complete: it is about every certificate of its issuer, and so needs no issuingDistributionPoint (section 5.2.5).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from edgeward.errors import NotConforming, PolicyRefused, UsageError, printable
from edgeward.pki import der, parse, tbs

REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "removeFromCRL": 8,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
"""CRLReason. RFC 5280 section 5.3.1."""

MAX_URLS = 4
"""Places where the lists of one CA are published: verifiers try them in turn, each for seconds."""

_VERSION_2 = der.integer(1)
_ENUMERATED = 0x0A


def location(text: str) -> str:
    """A URL as certificates name it for the revocation lists of their issuer (RFC 5280 section 4.2.1.13). Raises `UsageError`.

    http alone: lists are signed themselves, and a verifier that needed TLS to fetch one might need the list for that (section 8).
    """
    try:
        parts = urlsplit(text)
        sound = bool(parts.hostname) and (parts.port is None or parts.port > 0) and "@" not in parts.netloc
    except ValueError:
        sound = False
    if not sound or not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}#') or len(text) > 512:
        raise UsageError(problem=f"{printable(text)} is no URL of a revocation list: write http://HOST/PATH")
    if parts.scheme != "http":
        why = "lists are signed themselves, and fetching one over TLS might need the list"
        raise UsageError(problem=f"{printable(text)}: a revocation list is published over plain http: {why}")
    return text


@functools.lru_cache(maxsize=16)
def distribution_points(urls: tuple[str, ...]) -> tbs.Planned:
    """The extension that says where the lists are: one place under all of `urls`. RFC 5280 section 4.2.1.13."""
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return tbs.extension(x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)]), False)


class Entry(NamedTuple):
    """A revoked certificate: its serial, since when (to the second), and why (a name in `REASONS`)."""

    serial: int
    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A list decided and not yet signed. `number` grows with every list of its issuer (section 5.2.3), and so does `this_update`.

    `issuer` is the DER of the CA's subject, `key_identifier` that of its key (section 5.2.1). Times are aware UTC, to the second. Raises
    `PolicyRefused` for a list that would be over when it begins.
    """

    issuer: bytes
    key_identifier: bytes
    number: int
    this_update: datetime
    next_update: datetime
    entries: Sequence[Entry]

    def __post_init__(self) -> None:
        if not 0 < self.number < 1 << 159:
            raise PolicyRefused(("the number of a CRL is positive and has at most 20 octets",))
        if self.next_update <= self.this_update:
            raise PolicyRefused(("the next CRL is due before this one begins",))


def sign(plan: Plan, key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The list in DER, signed by the CA's `key`, read back and compared with the plan. Raises `NotConforming`: ours is the fault."""
    scheme = tbs.scheme(key)
    signed = der.sequence(
        _VERSION_2,
        scheme.identifier,
        plan.issuer,
        tbs.time(plan.this_update),
        tbs.time(plan.next_update),
        # an empty list is left out altogether (section 5.1.2.6)
        der.sequence(*[_entry(entry) for entry in plan.entries]) if plan.entries else b"",
        der.explicit(
            0,
            der.sequence(
                tbs.extension(x509.AuthorityKeyIdentifier(plan.key_identifier, None, None), False).encoded,
                tbs.extension(x509.CRLNumber(plan.number), False).encoded,
            ),
        ),
    )
    signature = key.sign(signed, *scheme.arguments)  # type: ignore[arg-type]  # each key has its own
    made = der.sequence(signed, scheme.identifier, der.bit_string(signature))
    _conform(made, plan, key)
    return made


def _entry(entry: Entry) -> bytes:
    code = REASONS[entry.reason]
    if not code:  # unspecified is said by saying nothing (section 5.3.1)
        return der.sequence(der.integer(entry.serial), tbs.time(entry.at))
    return der.sequence(der.integer(entry.serial), tbs.time(entry.at), der.sequence(_reason(code)))


def _reason(code: int) -> bytes:
    return der.sequence(der.oid("2.5.29.21"), der.octet_string(der.tlv(_ENUMERATED, bytes((code,)))))


def _conform(made: bytes, plan: Plan, key: CertificateIssuerPrivateKeyTypes) -> None:
    """Compare what the library reads in a signed list with its plan. RFC 5280 sections 5.1 and 5.2."""
    read = parse.crl(made)
    by_oid = {extension.oid: extension.value for extension in read.extensions}
    entries = [(entry.serial_number, entry.revocation_date_utc, _why(entry)) for entry in read]
    checks = {
        "issuer": read.issuer.public_bytes() == plan.issuer,
        "thisUpdate": read.last_update_utc == plan.this_update,
        "nextUpdate": read.next_update_utc == plan.next_update,
        "number": by_oid.get(x509.CRLNumber.oid) == x509.CRLNumber(plan.number),
        "entries": entries == [(entry.serial, entry.at, entry.reason) for entry in plan.entries],
        "signature": parse.guarded("CRL", lambda: read.is_signature_valid(key.public_key())),
    }
    if broken := [name for name, holds in checks.items() if not holds]:
        raise NotConforming(differences=", ".join(broken))


def _why(entry: x509.RevokedCertificate) -> str:
    for extension in entry.extensions:
        if isinstance(extension.value, x509.CRLReason):
            return extension.value.reason.value
    return "unspecified"
