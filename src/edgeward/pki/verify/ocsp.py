"""OCSP responses: who signed one, and what it says of a certificate. RFC 6960 section 3.2 and 4.2.2."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from edgeward.errors import TooLarge
from edgeward.pki.parse import guarded
from edgeward.pki.verify import der as tlv
from edgeward.pki.verify import facts
from edgeward.pki.verify.algorithms import Algorithms, Signed, signed_by_responder
from edgeward.pki.verify.dn import DistinguishedName, comparable
from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.meter import Meter

MAX_RESPONSE = 1 << 20
"""Octets. A response with a post-quantum responder's chain stays under 30 KiB."""

_LIFE_WITHOUT_END = timedelta(
    days=1
)  # a response without nextUpdate: "newer information is always available", so not for long
_KNOWN = frozenset(("1.3.6.1.5.5.7.48.1.2",))  # the nonce: we send no request, so any nonce will do


@dataclass(frozen=True, slots=True, eq=False)
class Single:
    """What a response says of one certificate. `revoked` is None for good; `known` is False for status "unknown"."""

    hash_algorithm: hashes.HashAlgorithm
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: int
    known: bool
    revoked: x509.ReasonFlags | None
    this_update: datetime
    next_update: datetime | None


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """One successful response, read."""

    title: str
    responder_name: DistinguishedName | None
    responder_key_hash: bytes | None
    certificates: tuple[Facts, ...]
    signed: Signed
    singles: tuple[Single, ...]
    problem: str = ""


def _single(value: ocsp.OCSPSingleResponse) -> Single:
    status = value.certificate_status
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    return Single(
        hash_algorithm=value.hash_algorithm,
        issuer_name_hash=value.issuer_name_hash,
        issuer_key_hash=value.issuer_key_hash,
        serial=value.serial_number,
        known=status is not ocsp.OCSPCertStatus.UNKNOWN,
        revoked=(value.revocation_reason or x509.ReasonFlags.unspecified) if revoked else None,
        this_update=value.this_update_utc,
        next_update=value.next_update_utc,
    )


def _load(der: bytes) -> Response:
    value = ocsp.load_der_ocsp_response(der)
    if value.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError(f"the responder answered {value.response_status.name}")
    unknown = [e.oid.dotted_string for e in value.extensions if e.critical and e.oid.dotted_string not in _KNOWN]
    name = value.responder_name
    return Response(
        title=f"OCSP response of {value.produced_at_utc:%Y-%m-%d %H:%M:%S} UTC",
        responder_name=comparable(name) if name is not None else None,
        responder_key_hash=value.responder_key_hash,
        certificates=tuple(facts.read(c.public_bytes(serialization.Encoding.DER)) for c in value.certificates[:4]),
        signed=signed_by_responder(value),
        singles=tuple(_single(single) for single in value.responses),
        problem=f"it has a critical extension that is not understood: {unknown[0]}" if unknown else "",
    )


def read(der: bytes) -> Response:
    """The response in `der`, at most `MAX_RESPONSE` octets, which must be successful. Raises `Unreadable` or
    `TooLarge`.
    """
    if len(der) > MAX_RESPONSE:
        raise TooLarge(what="the OCSP response", limit=MAX_RESPONSE)
    return guarded("OCSP response", lambda: _load(der))


def _digest(octets: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    context = hashes.Hash(algorithm)
    context.update(octets)
    return context.finalize()


def _key_octets(issuer: Facts) -> bytes:
    """The subjectPublicKey of `issuer` without its tag, length and count of unused bits: what a key hash is made of."""
    return tlv.children(tlv.only(issuer.spki, tlv.SEQUENCE).content)[1].content[1:]


def _is_about(single: Single, certificate: Facts, issuer: Facts) -> bool:
    name = certificate.certificate.issuer.public_bytes()
    return (
        single.serial == certificate.certificate.serial_number
        and single.issuer_name_hash == _digest(name, single.hash_algorithm)
        and single.issuer_key_hash == _digest(_key_octets(issuer), single.hash_algorithm)
    )


def _stale(single: Single, now: datetime) -> str:
    if single.this_update > now:
        return "it is not valid yet"
    end = single.next_update or single.this_update + _LIFE_WITHOUT_END
    return f"it was to be replaced by {end:%Y-%m-%d %H:%M:%S} UTC" if end < now else ""


Vouched = Callable[[Facts], str]
"""Why a delegated responder without id-pkix-ocsp-nocheck counts as revoked or unknown, or an empty string."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The circumstances in which responses are read."""

    now: datetime
    algorithms: Algorithms
    meter: Meter
    vouched: Vouched

    def distrust(self, response: Response, issuer: Facts) -> str:
        """Why the response is not authentic for what `issuer` issued; empty when it is. RFC 6960 section 4.2.2.2."""
        why = "its signer is neither the issuer nor a responder that the issuer appointed"
        for signer in (issuer, *response.certificates):
            by_name = response.responder_name == signer.subject
            by_key = response.responder_key_hash == _digest(_key_octets(signer), hashes.SHA1())  # noqa: S303 - RFC 6960 fixes it
            if not (by_name or by_key):
                continue
            if signer.der != issuer.der and (reason := self._not_delegate(signer, issuer)):
                why = reason
                continue
            if self.meter.verifies(response.signed, signer.spki, self.algorithms):
                return ""
            why = "its signature does not verify"
        return why

    def _not_delegate(self, signer: Facts, issuer: Facts) -> str:
        """Why `signer` may not answer for `issuer`: it must be issued by it directly, for OCSP signing, and be good
        itself.
        """
        usages = signer.extension(x509.ExtendedKeyUsage)
        if signer.issuer != issuer.subject or usages is None or ExtendedKeyUsageOID.OCSP_SIGNING not in usages:
            return "its signer has no extKeyUsage OCSPSigning from the issuer"
        if not signer.not_before <= self.now <= signer.not_after:
            return "its signer's certificate is not valid now"
        if any(raw.critical and oid not in _DELEGATE_CRITICAL for oid, raw in signer.raw.items()):
            return "its signer's certificate has a critical extension that is not understood"
        if not self.meter.verifies(signer.signed, issuer.spki, self.algorithms):
            return "its signer's certificate is not signed by the issuer"
        return "" if signer.has(ExtensionOID.OCSP_NO_CHECK) else self.vouched(signer)

    def look_up(
        self, certificate: Facts, issuer: Facts, responses: Sequence[Response]
    ) -> tuple[list[Single], list[tuple[Response, str]]]:
        """The authentic, current statements about `certificate`, and why the other responses were not used."""
        found: list[Single] = []
        why_not: list[tuple[Response, str]] = []
        for response in responses:
            singles = [single for single in response.singles if _is_about(single, certificate, issuer)]
            if not singles:
                continue
            why = response.problem or self.distrust(response, issuer)
            for single in singles:
                reason = why or _stale(single, self.now) or ("" if single.known else "it does not know the certificate")
                if reason:
                    why_not.append((response, reason))
                else:
                    found.append(single)
        return found, why_not


_DELEGATE_CRITICAL = frozenset(
    oid.dotted_string
    for oid in (
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.OCSP_NO_CHECK,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    )
)
