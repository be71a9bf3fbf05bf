"""What a live server showed, in words: its chain, what was agreed, and whether its certificate fits the name it was
called by.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from edgeward.errors import EdgewardError
from edgeward.pki import parse
from edgeward.pki.formats.item import Item, Kind
from edgeward.pki.inspect import chain, describe
from edgeward.pki.inspect.names import generals
from edgeward.pki.inspect.report import Report, Warning
from edgeward.pki.severity import Severity


def report(address: str, name: str, certificates: Sequence[bytes], version: str, cipher: str, now: datetime) -> Report:
    """The report on a server at `address` that was called by `name` (a DNS name or an address)."""
    items = [
        Item(kind=Kind.CERTIFICATE, data=der, origin=f"sent as number {place}", encoding="DER")
        for place, der in enumerate(certificates, 1)
    ]
    inner = describe.together(items, now) if len(items) > 1 else None
    parts = inner.parts if inner else tuple(describe.one(item, now) for item in items)
    warnings = list(inner.warnings) if inner else []
    try:
        parsed = [parse.certificate(der) for der in certificates]
    except EdgewardError:
        parsed = []
    if parsed:
        warnings += _name(parsed[0], name)
        heap = chain.family(parsed)
        if heap.issuers[heap.path(0)[-1]] == -1 and len(parsed) == 1:
            text = "it sends its own certificate alone: clients that do not have its issuer cannot build a chain"
            warnings.append(Warning(id="chain-incomplete", severity=Severity.WARNING, text=text))
    rows = (("agreed", f"{version}, {cipher}"), ("called by", name))
    facts = {"tls_version": version, "cipher": cipher, "name": name}
    found = Report(
        kind="server", title=f"server {address}", rows=rows, facts=facts, parts=parts, warnings=tuple(warnings)
    )
    return found._replace(tree=inner.tree) if inner else found


def _name(leaf: x509.Certificate, name: str) -> list[Warning]:
    """The mismatch that clients report as `certificate is valid for 2.2.2.2, not 1.1.1.1`. RFC 9525 section 6."""
    try:
        names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    if any(_matches(candidate, name) for candidate in names):
        return []
    valid = ", ".join(generals(names)[:10]) or "no name at all"
    kind = "ip" if _address(name) else "dns"
    return [
        Warning(
            id="name-mismatch",
            severity=Severity.ERROR,
            text=f"clients that connect to {name} refuse it: it is valid for {valid}",
            remedy=f"sign it again with {kind}:{name} among its names, or connect by a name that it has",
        )
    ]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _matches(candidate: x509.GeneralName, name: str) -> bool:
    address = _address(name)
    if address is not None:
        return isinstance(candidate, x509.IPAddress) and candidate.value == address
    if not isinstance(candidate, x509.DNSName):
        return False
    wanted, have = name.lower().removesuffix("."), candidate.value.lower()
    if have.startswith("*.") and have.count(".") > 1:
        return wanted.partition(".")[2] == have[2:] and bool(wanted.partition(".")[0])
    return wanted == have
