"""Every extension in words: what it is called, what is in it, and what that means for whoever holds the certificate.

The library decodes the common ones; `private` decodes the rest, as far as anybody has said what they are.
"""

from collections.abc import Callable, Iterable
from typing import Any

from cryptography import x509

from edgeward.pki import oids
from edgeward.pki.inspect import private
from edgeward.pki.inspect.names import dn, general, generals, hexed, iso, moment, shown
from edgeward.pki.inspect.report import Extension, Json

Spoken = tuple[Json, list[str]]

KEY_USAGES = {
    "digital_signature": ("digitalSignature", "signs handshakes and messages"),
    "content_commitment": ("nonRepudiation", "signs what cannot be denied later"),
    "key_encipherment": ("keyEncipherment", "decrypts keys sent to it (RSA key exchange, before TLS 1.3)"),
    "data_encipherment": ("dataEncipherment", "decrypts data directly (hardly ever right)"),
    "key_agreement": ("keyAgreement", "agrees on keys (static Diffie-Hellman)"),
    "key_cert_sign": ("keyCertSign", "signs certificates: a CA"),
    "crl_sign": ("cRLSign", "signs revocation lists"),
}

PURPOSES = {
    "1.3.6.1.5.5.7.3.1": "proves a server to its clients",
    "1.3.6.1.5.5.7.3.2": "proves a client to servers",
    "1.3.6.1.5.5.7.3.3": "signs programs",
    "1.3.6.1.5.5.7.3.4": "protects e-mail",
    "1.3.6.1.5.5.7.3.8": "signs time stamps",
    "1.3.6.1.5.5.7.3.9": "answers for a CA whether its certificates are revoked",
    "2.5.29.37.0": "any purpose: no restriction at all",
}


def _names(value: Iterable[x509.GeneralName]) -> Spoken:
    pairs = [general(name) for name in value]
    return [{"type": kind, "value": text} for kind, text in pairs], [f"{kind}:{text}" for kind, text in pairs]


def _key_usage(value: x509.KeyUsage) -> Spoken:
    found = [spoken for attribute, spoken in KEY_USAGES.items() if getattr(value, attribute)]
    if value.key_agreement:
        found += [("encipherOnly", "only encrypting with the agreed key")] if value.encipher_only else []
        found += [("decipherOnly", "only decrypting with the agreed key")] if value.decipher_only else []
    if not found:
        return [], ["nothing at all: the key may not be used"]
    return [name for name, _ in found], [f"{name}: {meaning}" for name, meaning in found]


def _extended_key_usage(value: x509.ExtendedKeyUsage) -> Spoken:
    dotted = [oid.dotted_string for oid in value]
    words = [oids.name(oid) + (f": {PURPOSES[oid]}" if oid in PURPOSES else "") for oid in dotted]
    return [{"oid": oid, "name": oids.NAMES.get(oid, "")} for oid in dotted], words


def _basic_constraints(value: x509.BasicConstraints) -> Spoken:
    written: Json = {"ca": value.ca, "path_length": value.path_length}
    if not value.ca:
        return written, ["not a CA: certificates that it signs are refused"]
    depth = value.path_length
    below = (
        "any number of CAs below it"
        if depth is None
        else "no CA below it, leaves only"
        if depth == 0
        else f"at most {depth} CA{'s' if depth > 1 else ''} below it, one under the other"
    )
    return written, [f"a CA: may sign certificates, {below}"]


def _subject_key(value: x509.SubjectKeyIdentifier) -> Spoken:
    return hexed(value.digest), [hexed(value.digest)]


def _authority_key(value: x509.AuthorityKeyIdentifier) -> Spoken:
    key = hexed(value.key_identifier) if value.key_identifier is not None else None
    issuer = generals(value.authority_cert_issuer or ())
    serial = f"{value.authority_cert_serial_number:X}" if value.authority_cert_serial_number is not None else None
    words = [key] if key else []
    words += [f"issuer {name}" for name in issuer]
    words += [f"issuer's serial {serial}"] if serial else []
    return {"key_id": key, "issuer": list[Json](issuer), "serial": serial}, words or ["empty: it says nothing"]


def _points(value: Iterable[x509.DistributionPoint]) -> Spoken:
    written: list[Json] = []
    words = []
    for point in value:
        names = generals(point.full_name or ())
        if point.relative_name is not None:
            names.append(f"relative name {shown(point.relative_name.rfc4514_string())}")
        reasons = sorted(reason.value for reason in point.reasons or ())
        issuer = generals(point.crl_issuer or ())
        written.append({"names": list[Json](names), "reasons": list[Json](reasons), "crl_issuer": list[Json](issuer)})
        suffix = f", for {', '.join(reasons)} only" if reasons else ""
        suffix += f", signed by {', '.join(issuer)}" if issuer else ""
        words.append((", ".join(names) or "no place named") + suffix)
    return written, words


def _access(value: Iterable[x509.AccessDescription]) -> Spoken:
    written: list[Json] = []
    words = []
    for description in value:
        method = oids.name(description.access_method.dotted_string)
        kind, text = general(description.access_location)
        written.append({"method": method, "type": kind, "location": text})
        words.append(f"{method}: {kind}:{text}")
    return written, words


def _policies(value: x509.CertificatePolicies) -> Spoken:
    written: list[Json] = []
    words = []
    for policy in value:
        dotted = policy.policy_identifier.dotted_string
        qualifiers = []
        for qualifier in policy.policy_qualifiers or ():
            if isinstance(qualifier, str):
                qualifiers.append(f"statement at {shown(qualifier)}")
            elif qualifier.explicit_text:
                qualifiers.append(f"notice: {shown(qualifier.explicit_text)}")
        written.append({"oid": dotted, "name": oids.NAMES.get(dotted, ""), "qualifiers": list[Json](qualifiers)})
        named = oids.NAMES.get(dotted)
        head = f"{dotted} ({named})" if named else oids.name(dotted)
        words.append("; ".join([head, *qualifiers]))
    return written, words


def _name_constraints(value: x509.NameConstraints) -> Spoken:
    permitted, excluded = generals(value.permitted_subtrees or ()), generals(value.excluded_subtrees or ())
    words = [f"only {name} and below" for name in permitted] + [f"never {name} or below" for name in excluded]
    return {"permitted": list[Json](permitted), "excluded": list[Json](excluded)}, words


def _policy_constraints(value: x509.PolicyConstraints) -> Spoken:
    explicit, mapping = value.require_explicit_policy, value.inhibit_policy_mapping
    words = [f"a policy is required after {explicit} more certificates"] if explicit is not None else []
    words += [f"no policy is mapped after {mapping} more certificates"] if mapping is not None else []
    return {"require_explicit_policy": explicit, "inhibit_policy_mapping": mapping}, words


def _inhibit_any(value: x509.InhibitAnyPolicy) -> Spoken:
    return value.skip_certs, [f"anyPolicy does not count after {value.skip_certs} more certificates"]


def _features(value: x509.TLSFeature) -> Spoken:
    written: list[Json] = [feature.name for feature in value]
    meaning = {"status_request": "the server must staple an OCSP answer (must-staple): without one the handshake fails"}
    return written, [meaning.get(feature.name, feature.name) for feature in value]


def _timestamps(value: Iterable[Any]) -> Spoken:
    written: list[Json] = []
    words = []
    for stamp in value:
        log = stamp.log_id.hex()
        written.append({"log_id": log, "time": iso(stamp.timestamp), "version": stamp.version.name})
        words.append(f"logged {moment(stamp.timestamp)} in {log[:16]}…")
    return written, words


def _template(value: x509.MSCertificateTemplate) -> Spoken:
    dotted = value.template_id.dotted_string
    return (
        {"template": dotted, "major": value.major_version, "minor": value.minor_version},
        [f"made from Microsoft template {dotted}, version {value.major_version}.{value.minor_version}"],
    )


def _period(value: x509.PrivateKeyUsagePeriod) -> Spoken:
    after = moment(value.not_before) if value.not_before else "always"
    until = moment(value.not_after) if value.not_after else "for ever"
    return {"from": after, "until": until}, [f"the key signs from {after} until {until}"]


def _admissions(value: x509.Admissions) -> Spoken:
    items = [
        shown(item)
        for admission in value
        for profession in admission.profession_infos
        for item in profession.profession_items
    ]
    return list[Json](items), [f"admitted as {item}" for item in items] or ["an admission without a profession"]


def _scope(value: x509.IssuingDistributionPoint) -> Spoken:
    names = generals(value.full_name or ())
    flags = {
        "user certificates only": value.only_contains_user_certs,
        "CA certificates only": value.only_contains_ca_certs,
        "attribute certificates only": value.only_contains_attribute_certs,
        "an indirect list: it revokes certificates of other issuers too": value.indirect_crl,
    }
    reasons = sorted(reason.value for reason in value.only_some_reasons or ())
    words = [*names, *(text for text, on in flags.items() if on)]
    words += [f"for {', '.join(reasons)} only"] if reasons else []
    return {
        "names": list[Json](names),
        "only_user": value.only_contains_user_certs,
        "only_ca": value.only_contains_ca_certs,
        "only_attribute": value.only_contains_attribute_certs,
        "indirect": value.indirect_crl,
        "reasons": list[Json](reasons),
    }, words or ["no limits"]


_SPEAKERS: dict[str, Callable[[Any], Spoken]] = {
    "SubjectAlternativeName": _names,
    "IssuerAlternativeName": _names,
    "CertificateIssuer": _names,
    "KeyUsage": _key_usage,
    "ExtendedKeyUsage": _extended_key_usage,
    "BasicConstraints": _basic_constraints,
    "SubjectKeyIdentifier": _subject_key,
    "AuthorityKeyIdentifier": _authority_key,
    "CRLDistributionPoints": _points,
    "FreshestCRL": _points,
    "AuthorityInformationAccess": _access,
    "SubjectInformationAccess": _access,
    "CertificatePolicies": _policies,
    "NameConstraints": _name_constraints,
    "PolicyConstraints": _policy_constraints,
    "InhibitAnyPolicy": _inhibit_any,
    "TLSFeature": _features,
    "PrecertificateSignedCertificateTimestamps": _timestamps,
    "SignedCertificateTimestamps": _timestamps,
    "MSCertificateTemplate": _template,
    "PrivateKeyUsagePeriod": _period,
    "Admissions": _admissions,
    "IssuingDistributionPoint": _scope,
    "PrecertPoison": lambda _: (
        True,
        ["a precertificate for a transparency log: not for use, programs must refuse it"],
    ),
    "OCSPNoCheck": lambda _: (True, ["nobody asks whether this OCSP responder itself is revoked"]),
    "CRLNumber": lambda value: (value.crl_number, [str(value.crl_number)]),
    "DeltaCRLIndicator": lambda value: (value.crl_number, [f"only what changed since CRL number {value.crl_number}"]),
    "CRLReason": lambda value: (value.reason.value, [value.reason.value]),
    "InvalidityDate": lambda value: (
        iso(value.invalidity_date),
        [f"not to be trusted since {moment(value.invalidity_date)}"],
    ),
    "OCSPNonce": lambda value: (hexed(value.nonce), [hexed(value.nonce)]),
}


def spoken(extension: x509.Extension[Any]) -> Extension:
    """One extension in words. RFC 5280 section 4.2 and its successors."""
    dotted = extension.oid.dotted_string
    value = extension.value
    speaker = _SPEAKERS.get(type(value).__name__)
    if speaker is not None:
        written, words = speaker(value)
    else:
        octets = value.value if isinstance(value, x509.UnrecognizedExtension) else value.public_bytes()
        written, words = private.spoken(dotted, octets)
    return Extension(oid=dotted, name=oids.name(dotted), critical=extension.critical, value=written, words=tuple(words))


def all_spoken(extensions: x509.Extensions) -> tuple[Extension, ...]:
    """Every extension in words, in order."""
    return tuple(spoken(extension) for extension in extensions)


__all__ = ["KEY_USAGES", "PURPOSES", "all_spoken", "dn", "spoken"]
