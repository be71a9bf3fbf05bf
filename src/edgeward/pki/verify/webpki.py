"""What the CA/Browser Forum's TLS Baseline Requirements add to RFC 5280, as far as a relying party can see it."""

import ipaddress
from collections.abc import Iterator

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.options import Purpose
from edgeward.pki.verify.rules import Place
from edgeward.pki.verify.suffixes import is_public_suffix
from edgeward.pki.verify.syntax import host_labels, is_address, pattern_labels
from edgeward.pki.verify.verdict import Check

_BR = "CA/B TLS BR section "


def _common_name_problem(name: str, dns: list[str], addresses: list[str]) -> str:
    """Why a common name breaks BR section 7.1.4.3, or an empty string.

    It must be a copy, character for character, of one entry of subjectAltName. Two kinds are let pass, as every root
    programme does: a host name where no host name is listed at all, and the name that a listed wildcard is a wildcard
    of.
    """
    if name in dns or name in addresses:
        return ""
    plain = host_labels(name) is not None and name == name.lower() and "." in name
    if plain and not is_address(name) and (not dns or f"*.{name}" in dns):
        return ""
    return f"its common name {name!r} is not a copy of an entry of subjectAltName"


def _leaf_names(leaf: Facts, strict: bool) -> Iterator[tuple[str, str]]:
    san = leaf.extension(x509.SubjectAlternativeName)
    if san is None:
        yield "7.1.2.7.12", "it has no subjectAltName"
        return
    if leaf.subject and leaf.critical(ExtensionOID.SUBJECT_ALTERNATIVE_NAME):
        yield "7.1.2.7.12", "subjectAltName is critical, and the subject is not empty"
    dns = san.get_values_for_type(x509.DNSName)
    addresses = [_canonical(address) for address in san.get_values_for_type(x509.IPAddress)]
    for name in dns:
        labels = pattern_labels(name) or ("",)
        if name == "*" or (labels[0] == "*" and is_public_suffix(labels[1:], strict)):
            yield "3.2.2.6", f"the wildcard {name!r} covers the customers of a registry or a hoster"
    for attribute in leaf.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if problem := _common_name_problem(str(attribute.value), dns, addresses):
            yield "7.1.4.3", problem


def _canonical(address: object) -> str:
    """RFC 5952 for IPv6, dotted decimal for IPv4: what the standard library prints."""
    return str(address) if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address) else ""


def _leaf_usages(leaf: Facts, purpose: Purpose) -> Iterator[tuple[str, str]]:
    if leaf.is_ca:
        yield "7.1.2.7.8", "it is a CA certificate in the place of a leaf"
    usages = leaf.extension(x509.ExtendedKeyUsage)
    if usages is None:
        yield "7.1.2.7.6", "it has no extKeyUsage"
        return
    if leaf.critical(ExtensionOID.EXTENDED_KEY_USAGE):
        yield "7.1.2.7.6", "extKeyUsage is critical"
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages:
        yield "7.1.2.7.10", "extKeyUsage has anyExtendedKeyUsage"
    if purpose is not Purpose.CLIENT and ExtendedKeyUsageOID.SERVER_AUTH not in usages:
        yield "7.1.2.7.10", "extKeyUsage does not have serverAuth"


def _root(root: Facts) -> Iterator[tuple[str, str]]:
    if not root.self_issued:
        return  # an intermediate that somebody trusts directly
    if root.has(ExtensionOID.EXTENDED_KEY_USAGE):
        yield "7.1.2.1.2", "it is a root and has extKeyUsage"
    identifier = root.extension(x509.AuthorityKeyIdentifier)
    if identifier is None:
        return
    if identifier.authority_cert_issuer is not None or identifier.authority_cert_serial_number is not None:
        yield "7.1.2.1.3", "its authority key identifier has an issuer or a serial number"
    if identifier.key_identifier is None:
        yield "7.1.2.1.3", "its authority key identifier has no key identifier"
    elif identifier.key_identifier != root.subject_key_id:
        yield "7.1.2.1.3", "its authority and subject key identifiers differ"


def check_webpki(place: Place, purpose: Purpose, strict: bool) -> list[Check]:
    """The Baseline Requirements for one certificate at its place. `strict` counts hosters as registries."""
    certificate = place.certificate
    problems: list[tuple[str, str]] = []
    if certificate.version != 3:
        problems.append(("7.1.1", "it is not an X.509 version 3 certificate"))
    if place.position == 0:
        problems += [*_leaf_names(certificate, strict), *_leaf_usages(certificate, purpose)]
    if place.anchor:
        problems += _root(certificate)
    if not problems:
        return [place.ok("webpki", _BR + "7.1", "it keeps the Baseline Requirements")]
    return [place.bad("webpki", _BR + section, words) for section, words in problems[:16]]
