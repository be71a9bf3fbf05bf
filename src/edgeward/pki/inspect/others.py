"""Everything that is not a certificate, in words: requests, revocation lists, OCSP, keys, tokens.

`describe` loads this module by name, when it meets the first of them.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp

from edgeward.errors import EdgewardError, TooLarge, Unreadable, UnsupportedKey
from edgeward.pki import asn1, oids, parse
from edgeward.pki.formats import pkcs8
from edgeward.pki.formats.item import Item, Kind
from edgeward.pki.inspect import extensions, private, publickey
from edgeward.pki.inspect.certificate import attributes, key_of, span
from edgeward.pki.inspect.names import dn, hexed, iso, moment, shown
from edgeward.pki.inspect.report import Extension, Json, Report, Warning
from edgeward.pki.severity import Severity

MAX_ENTRIES = 1_000
"""Entries of a CRL that are listed; the count is always whole."""

Rows = list[tuple[str, str]]


def _report(
    item: Item,
    title: str,
    rows: Rows,
    facts: dict[str, Json],
    *,
    warnings: list[Warning],
    spoken: tuple[Extension, ...] = (),
) -> Report:
    return Report(
        kind=item.kind.value, title=title, origin=item.origin, encoding=item.encoding, label=shown(item.label),
        alias=shown(item.alias), protection=item.protection, notes=item.notes, rows=tuple(rows), facts=facts,
        extensions=spoken, warnings=tuple(warnings),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- requests


def request(item: Item, now: datetime) -> Report:
    """A certificate request. RFC 2986 section 4."""
    del now
    parsed = parse.certificate_request(item.data)
    return parse.guarded("certificate request", lambda: _request(item, parsed))


def signature_holds(parsed: x509.CertificateSigningRequest) -> bool:
    """Whether the request is signed by the key inside it: the proof that the requester has the private half.

    A key that the library cannot read, or one so long that checking takes seconds, proves nothing. RFC 2986 section
    4.2.
    """
    try:
        if publickey.describe(parse.public_key(parsed)).bits > 8192:
            return False
        return parse.guarded("certificate request", lambda: parsed.is_signature_valid)
    except (Unreadable, UnsupportedKey):
        return False


def _request(item: Item, parsed: x509.CertificateSigningRequest) -> Report:
    key = key_of(parsed)
    holds = signature_holds(parsed)
    words = key.words if key else "of an algorithm not known here"
    algorithm = oids.name(parsed.signature_algorithm_oid.dotted_string)
    rows = [
        ("subject", dn(parsed.subject)),
        ("public key", words),
        ("signature", f"{algorithm}, {'made by its own key' if holds else 'does NOT fit its own key'}"),
    ]
    asked: list[Json] = []
    for attribute in parsed.attributes:
        dotted = attribute.oid.dotted_string
        if dotted == "1.2.840.113549.1.9.14":
            continue
        # A challenge password is a secret that people put into requests without knowing that it travels in the clear.
        secret = dotted == "1.2.840.113549.1.9.7"
        text = "(not shown)" if secret else shown(attribute.value.decode("utf-8", "replace"))
        asked.append({"oid": dotted, "name": oids.name(dotted), "value": text})
        rows.append(("attribute", f"{oids.name(dotted)}: {text}"))
    warnings = list(key.warnings) if key else []
    if not holds:
        text = "its signature does not fit its key: it was changed, or made without the private key"
        warnings.append(Warning(id="signature-does-not-hold", severity=Severity.ERROR, text=text))
    spoken = extensions.all_spoken(parsed.extensions)
    if not any(extension.oid == "2.5.29.17" for extension in spoken):
        text = "it asks for no subjectAltName: a server's certificate made from it matches no name"
        warnings.append(Warning(id="no-san", severity=Severity.NOTE, text=text))
    facts: dict[str, Json] = {
        "subject": dn(parsed.subject),
        "subject_attributes": attributes(parsed.subject),
        "public_key": key.as_json() if key else None,
        "signature_algorithm": algorithm,
        "signature_valid": holds,
        "attributes": asked,
        "sha256": hashlib.sha256(item.data).hexdigest(),
    }
    return _report(item, "certificate request (CSR)", rows, facts, warnings=warnings, spoken=spoken)


# ----------------------------------------------------------------------------------------------------- revocation lists


def crl(item: Item, now: datetime) -> Report:
    """A revocation list. RFC 5280 section 5."""
    parsed = parse.crl(item.data)
    return parse.guarded("CRL", lambda: _crl(item, parsed, now))


def _crl(item: Item, parsed: x509.CertificateRevocationList, now: datetime) -> Report:
    updated, due = parsed.last_update_utc, parsed.next_update_utc
    warnings = []
    if due is None:
        text = "it does not say when the next one comes: nobody can tell whether it is current"
        warnings.append(Warning(id="no-next-update", severity=Severity.WARNING, text=text))
    elif due < now:
        text = f"it is out of date since {moment(due)}: programs that check revocation refuse everything"
        warnings.append(Warning(id="crl-expired", severity=Severity.ERROR, text=text))
    if updated > now:
        warnings.append(
            Warning(id="not-yet-valid", severity=Severity.ERROR, text=f"it counts from {moment(updated)} only")
        )
    entries: list[Json] = []
    rows = [
        ("issuer", dn(parsed.issuer)),
        ("updated", moment(updated)),
        (
            "next update",
            f"{moment(due)} ({'in ' + span(due - now) if due >= now else span(now - due) + ' ago'})"
            if due
            else "not said",
        ),
        ("signature", oids.name(parsed.signature_algorithm_oid.dotted_string)),
        ("revoked", str(len(parsed))),
    ]
    for place, entry in enumerate(parsed):
        if place == MAX_ENTRIES:
            break
        spoken = {extension.name: extension.words[0] for extension in extensions.all_spoken(entry.extensions)}
        serial = f"{entry.serial_number:X}"
        entries.append({"serial": serial, "revoked_at": iso(entry.revocation_date_utc), **spoken})
        if place < 20:
            reason = spoken.get("cRLReason")
            rows.append(("", f"{serial} on {moment(entry.revocation_date_utc)}{f', {reason}' if reason else ''}"))
    if len(parsed) > 20:
        rows.append(("", f"… and {len(parsed) - 20} more (--json lists {MAX_ENTRIES})"))
    facts: dict[str, Json] = {
        "issuer": dn(parsed.issuer),
        "this_update": iso(updated),
        "next_update": iso(due) if due else None,
        "signature_algorithm": oids.name(parsed.signature_algorithm_oid.dotted_string),
        "revoked_count": len(parsed),
        "revoked": entries,
        "sha256": hashlib.sha256(item.data).hexdigest(),
    }
    spoken_all = extensions.all_spoken(parsed.extensions)
    title = "certificate revocation list (CRL)"
    if any(extension.oid == "2.5.29.27" for extension in spoken_all):
        title = "delta certificate revocation list (CRL)"
    return _report(item, title, rows, facts, warnings=warnings, spoken=spoken_all)


# ----------------------------------------------------------------------------------------------------------------- OCSP


def ocsp_request(item: Item, now: datetime) -> Report:
    """An OCSP request. The library reads those that ask for one certificate. RFC 6960 section 4.1."""
    del now

    def read() -> Report:
        parsed = ocsp.load_der_ocsp_request(item.data)
        rows = [("serial", f"{parsed.serial_number:X}"), *_cert_id(parsed)]
        facts: dict[str, Json] = {"serial": f"{parsed.serial_number:X}", **_cert_id_facts(parsed)}
        return _report(item, "OCSP request", rows, facts, warnings=[], spoken=extensions.all_spoken(parsed.extensions))

    try:
        return parse.guarded("OCSP request", read)
    except NotImplementedError:
        count = sum(1 for _ in asn1.exactly(item.data, "OCSP request").children[0].children[-1].children)
        return _report(item, "OCSP request", [("asks about", f"{count} certificates")], {"count": count}, warnings=[])


def _cert_id(parsed: ocsp.OCSPRequest | ocsp.OCSPResponse) -> Rows:
    return [
        ("issuer name", f"{hexed(parsed.issuer_name_hash)} ({parsed.hash_algorithm.name})"),
        ("issuer key", hexed(parsed.issuer_key_hash)),
    ]


def _cert_id_facts(parsed: ocsp.OCSPRequest | ocsp.OCSPResponse) -> dict[str, Json]:
    return {
        "hash_algorithm": parsed.hash_algorithm.name,
        "issuer_name_hash": parsed.issuer_name_hash.hex(),
        "issuer_key_hash": parsed.issuer_key_hash.hex(),
    }


def ocsp_response(item: Item, now: datetime) -> Report:
    """An OCSP response; one with several answers is read as far as the library goes. RFC 6960 section 4.2."""

    def read() -> Report:
        parsed = ocsp.load_der_ocsp_response(item.data)
        status = parsed.response_status.name.lower().replace("_", " ")
        if parsed.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return _report(item, "OCSP response", [("answer", status)], {"response_status": status}, warnings=[])
        return _ocsp_answer(item, parsed, status, now)

    return parse.guarded("OCSP response", read)


def _ocsp_answer(item: Item, parsed: ocsp.OCSPResponse, status: str, now: datetime) -> Report:
    answers = list(parsed.responses)
    rows: Rows = [("answer", status), ("produced", moment(parsed.produced_at_utc))]
    responder = (
        dn(parsed.responder_name) if parsed.responder_name is not None else hexed(parsed.responder_key_hash or b"")
    )
    rows.append(("responder", responder))
    written: list[Json] = []
    warnings = []
    for answer in answers[:MAX_ENTRIES]:
        serial, verdict = f"{answer.serial_number:X}", answer.certificate_status.name.lower()
        due = answer.next_update_utc
        rows.append(("serial", f"{serial}: {verdict}"))
        rows.append(("", f"as of {moment(answer.this_update_utc)}, next {moment(due) if due else 'not said'}"))
        if due is not None and due < now:
            text = f"the answer on {serial} is out of date since {moment(due)}"
            warnings.append(Warning(id="ocsp-expired", severity=Severity.ERROR, text=text))
        revoked = answer.revocation_time_utc
        if revoked is not None:
            reason = answer.revocation_reason.value if answer.revocation_reason else "no reason given"
            rows.append(("", f"revoked {moment(revoked)}: {reason}"))
        written.append(
            {
                "serial": serial,
                "status": verdict,
                "this_update": iso(answer.this_update_utc),
                "next_update": iso(due) if due else None,
                "revoked_at": iso(revoked) if revoked else None,
                "reason": answer.revocation_reason.value if answer.revocation_reason else None,
            }
        )
    rows += [("carries", dn(certificate.subject)) for certificate in parsed.certificates[:10]]
    facts: dict[str, Json] = {
        "response_status": status,
        "produced_at": iso(parsed.produced_at_utc),
        "responder": responder,
        "signature_algorithm": oids.name(parsed.signature_algorithm_oid.dotted_string),
        "answers": written,
    }
    spoken = extensions.all_spoken(parsed.extensions)
    return _report(item, "OCSP response", rows, facts, warnings=warnings, spoken=spoken)


# ----------------------------------------------------------------------------------------------------------------- keys


def private_key(item: Item, now: datetime) -> Report:
    """A private key: what kind it is and which public half it has. Its octets are never shown."""
    del now
    key = pkcs8.read(item.data)
    described = parse.guarded("private key", lambda: publickey.describe(key.public_key()))
    form = "PKCS#8" if item.protection else _form(item.data)
    rows = [("algorithm", described.words), ("form", form), ("public key", f"SHA-256 {described.spki_sha256}")]
    rows.append(("protection", item.protection or "none: whoever reads the file has the key"))
    facts: dict[str, Json] = {
        "public_key": described.as_json(),
        "form": form,
        "encrypted": bool(item.protection),
    }
    return _report(item, "private key", rows, facts, warnings=list(described.warnings))


def _form(der: bytes) -> str:
    node, _ = asn1.read(der, "private key", levels=1)
    if len(node.children) > 1 and node.children[1].is_universal(16):
        return "PKCS#8"
    return "SEC1" if len(node.children) > 1 and node.children[1].is_universal(4) else "PKCS#1"


def encrypted_key(item: Item, now: datetime) -> Report:
    """A private key that was not opened: how it is encrypted, which is all that can be said."""
    del now
    rows = [("protection", item.protection or "of its container")]
    warnings = []
    weak = ("MD5", "MD2", "SHA-1", "DES", "RC2", "RC4")
    if any(word in item.protection for word in weak):
        text = f"its encryption is from another age ({item.protection})"
        warnings.append(
            Warning(
                id="weak-encryption",
                severity=Severity.WARNING,
                text=text,
                remedy="edgeward key convert IN OUT --password @FILE",
            )
        )
    return _report(item, "encrypted private key", rows, {"encrypted": True}, warnings=warnings)


def public_key(item: Item, now: datetime) -> Report:
    """A public key on its own."""
    del now
    key = parse.guarded("public key", lambda: serialization.load_der_public_key(item.data))
    described = parse.guarded("public key", lambda: publickey.describe(key))
    rows = [("algorithm", described.words), ("SHA-256", described.spki_sha256)]
    return _report(item, "public key", rows, {"public_key": described.as_json()}, warnings=list(described.warnings))


def ec_parameters(item: Item, now: datetime) -> Report:
    """The name of a curve in front of an EC key, as `openssl ecparam -genkey` leaves it."""
    del now
    node, _ = asn1.read(item.data, "EC parameters")
    curve = private.primitive(node) if not node.constructed else "explicit parameters: programs refuse them"
    return _report(item, "elliptic curve parameters", [("curve", curve)], {"curve": curve}, warnings=[])


# -------------------------------------------------------------------------------------------------------- tokens, ASN.1


def token(item: Item, now: datetime) -> Report:
    """A KubeEdge join token: which CA it pins and until when it counts. The signature is neither checked nor shown."""
    pinned, header, payload, _ = item.data.decode("ascii").split(".")
    claims, kind = _json_part(payload), _json_part(header)
    expiry = claims.get("exp")
    rows = [("pins the CA", f"SHA-256 {pinned.lower()}"), ("signed with", shown(kind.get("alg", "not said"), 40))]
    warnings = []
    facts: dict[str, Json] = {"ca_sha256": pinned.lower(), "algorithm": shown(kind.get("alg", ""), 40), "expires": None}
    if isinstance(expiry, int) and not isinstance(expiry, bool) and 0 <= expiry < 253_402_300_800:
        end = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=expiry)
        left = f"in {span(end - now)}" if end >= now else f"{span(now - end)} ago"
        rows.append(("expires", f"{moment(end)} ({left})"))
        facts["expires"] = iso(end)
        if end < now:
            text = "it has expired: print a new one"
            warnings.append(
                Warning(id="token-expired", severity=Severity.ERROR, text=text, remedy="edgeward token new --node NAME")
            )
    else:
        text = "it does not say when it expires: it opens the door for ever"
        warnings.append(Warning(id="token-without-expiry", severity=Severity.WARNING, text=text))
    if str(kind.get("alg", "")).lower() == "none":
        warnings.append(Warning(id="token-unsigned", severity=Severity.ERROR, text="it is not signed at all"))
    if not _canonical(pinned):
        warnings.append(Warning(id="token-case", severity=Severity.WARNING, text="the CA's hash must be in lower case"))
    others = sorted(name for name in claims if name != "exp")
    rows += [("claim", f"{shown(name, 40)}: {shown(claims[name], 100)}") for name in others[:20]]
    facts["claims"] = {shown(name, 40): shown(claims[name], 100) for name in others[:20]}
    return _report(item, "KubeEdge join token (a secret)", rows, facts, warnings=warnings)


def _canonical(pinned: str) -> bool:
    return pinned == pinned.lower()


def _json_part(text: str) -> dict[str, object]:
    try:
        value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def unknown(item: Item, now: datetime) -> Report:
    """An ASN.1 value of no known kind: its first words."""
    del now
    try:
        node, _ = asn1.read(item.data, levels=8, max_nodes=500)
        found = [oids.name(asn1.oid_text(inner.content)) for inner in node.walk() if inner.is_universal(6)][:5]
    except EdgewardError as error:
        if not isinstance(error, Unreadable | TooLarge):
            raise
        found = []
    rows: Rows = [("length", f"{len(item.data)} octets"), *(("mentions", name) for name in found)]
    text = "see its structure: edgeward inspect --asn1 FILE"
    return _report(
        item, "ASN.1 value of a kind not known here", rows, {"length": len(item.data)},
        warnings=[Warning(id="unknown-structure", severity=Severity.NOTE, text=text)],
    )  # fmt: skip


REPORTERS: dict[Kind, Callable[[Item, datetime], Report]] = {
    Kind.REQUEST: request,
    Kind.CRL: crl,
    Kind.OCSP_REQUEST: ocsp_request,
    Kind.OCSP_RESPONSE: ocsp_response,
    Kind.PRIVATE_KEY: private_key,
    Kind.ENCRYPTED_KEY: encrypted_key,
    Kind.PUBLIC_KEY: public_key,
    Kind.EC_PARAMETERS: ec_parameters,
    Kind.KUBEEDGE_TOKEN: token,
    Kind.ASN1: unknown,
}
"""What says something of each kind. Each raises `EdgewardError` for an input that does not parse."""
