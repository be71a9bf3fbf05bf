"""Name constraints: the space of names that a CA leaves to what is below it. RFC 5280 section 4.2.1.10 and 6.1.

Every CA's constraints stay in force to the end of the path: a name must be permitted by each of them (an intersection)
and excluded by none. A kind of name that a constraint speaks of and this code cannot compare refuses every certificate
that has such a name, and so do a malformed constraint and a malformed name. A wildcard name counts as all the names
that it would match: it must be permitted whole, and no part of it may be excluded. An anchor's own constraints count as
well, as RFC 5937 proposes.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from edgeward.errors import Unreadable
from edgeward.pki.verify import der as tlv
from edgeward.pki.verify.dn import comparable, shown, within
from edgeward.pki.verify.facts import Facts
from edgeward.pki.verify.meter import Meter
from edgeward.pki.verify.syntax import host_labels, mailbox, pattern_labels, uri_host
from edgeward.pki.verify.verdict import Check, failed, passed

_PARAGRAPH = "RFC 5280 section 6.1.3(b)-(c)"
_SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constraint:
    """One subtree: the kind of name, its base for people, and the base for comparison (None when it is malformed)."""

    kind: type[x509.GeneralName]
    shown: str
    base: Any  # its type follows from `kind`, as with `Presented.value`


@dataclass(frozen=True, slots=True)
class Subtrees:
    """The constraints that one CA imposes. `problem` says why none of them can be applied, or is empty."""

    imposed_by: str
    permitted: tuple[Constraint, ...]
    excluded: tuple[Constraint, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Presented:
    """One name that a certificate carries, ready for comparison (None when it is malformed or not comparable)."""

    kind: type[x509.GeneralName]
    shown: str
    value: Any


def _dns_base(text: str) -> Labels | None:
    return () if text == "" else host_labels(text, underscores=True)


def _email_base(text: str) -> tuple[str, object] | None:
    """One mailbox, all of one host, or (with a leading period) all hosts of a domain."""
    if "@" in text:
        exact = mailbox(text)
        return ("mailbox", exact) if exact else None
    labels = host_labels(text.removeprefix("."))
    if labels is None:
        return None
    return ("domain" if text.startswith(".") else "host", labels)


def _uri_base(text: str) -> tuple[str, Labels] | None:
    labels = host_labels(text.removeprefix("."))
    if labels is None:
        return None
    return ("domain" if text.startswith(".") else "host", labels)


def _shown(name: x509.GeneralName) -> str:
    """A name for people."""
    if isinstance(name, x509.DirectoryName):
        return shown(name.value)
    if isinstance(name, x509.OtherName):
        return f"the otherName of type {name.type_id.dotted_string}"
    if isinstance(name, x509.RegisteredID):
        return f"the registeredID {name.value.dotted_string}"
    return str(name.value)


def _constraint(name: x509.GeneralName) -> Constraint:
    base: Any = None
    if isinstance(name, x509.DNSName):
        base = _dns_base(name.value)
    elif isinstance(name, x509.RFC822Name):
        base = _email_base(name.value)
    elif isinstance(name, x509.UniformResourceIdentifier):
        base = _uri_base(name.value)
    elif isinstance(name, x509.DirectoryName):
        base = comparable(name.value)
    elif isinstance(name, x509.IPAddress) and isinstance(name.value, _Network):
        base = name.value
    return Constraint(type(name), _shown(name), base)


def _bounded_distance(octets: bytes) -> bool:
    """Whether a subtree has a minimum or a maximum, which the library drops and RFC 5280 section 4.2.1.10 forbids."""
    for trees in tlv.children(tlv.only(octets, tlv.SEQUENCE).content):
        for subtree in tlv.children(trees.content):
            if len(tlv.children(subtree.content)) != 1:
                return True
    return False


def subtrees(ca: Facts) -> Subtrees | None:
    """The constraints in a CA certificate, or None."""
    value = ca.extension(x509.NameConstraints)
    if value is None:
        return None
    try:
        bounded = _bounded_distance(ca.raw[ExtensionOID.NAME_CONSTRAINTS.dotted_string].octets)
    except Unreadable:
        bounded = True
    return Subtrees(
        imposed_by=ca.title,
        permitted=tuple(_constraint(name) for name in value.permitted_subtrees or ()),
        excluded=tuple(_constraint(name) for name in value.excluded_subtrees or ()),
        problem="it uses a minimum or a maximum, which is not understood" if bounded else "",
    )


def _presented(name: x509.GeneralName) -> Presented:
    value: Any = None
    if isinstance(name, x509.DNSName):
        value = pattern_labels(name.value, underscores=True)
    elif isinstance(name, x509.RFC822Name):
        value = mailbox(name.value)
    elif isinstance(name, x509.UniformResourceIdentifier):
        value = uri_host(name.value)
    elif isinstance(name, x509.DirectoryName):
        value = comparable(name.value)
    elif isinstance(name, x509.IPAddress) and isinstance(name.value, _Address):
        value = name.value
    return Presented(type(name), _shown(name), value)


def presented_names(certificate: Facts) -> tuple[Presented, ...]:
    """Every name that constraints apply to: the subject, its e-mail addresses, and subjectAltName.

    The standard asks for the subject's e-mail addresses only when there is no subjectAltName; here they always count.
    An internationalised mailbox is held to e-mail constraints as well (RFC 9598 section 6), which it fails: none is
    compared here.
    """
    subject = certificate.certificate.subject
    found = []
    if certificate.subject:
        found.append(_presented(x509.DirectoryName(subject)))
        for attribute in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
            text = str(attribute.value)
            found.append(Presented(x509.RFC822Name, text, mailbox(text)))
    for name in certificate.extension(x509.SubjectAlternativeName) or ():
        found.append(_presented(name))
        if isinstance(name, x509.OtherName) and name.type_id == _SMTP_UTF8_MAILBOX:
            found.append(Presented(x509.RFC822Name, _shown(name), None))
    return tuple(found)


def _suffix(labels: Labels, base: Labels) -> bool:
    return labels[len(labels) - len(base) :] == base if len(base) <= len(labels) else False


def _host_matches(labels: Labels, base: tuple[str, Labels]) -> bool:
    form, wanted = base
    if form == "domain":
        return len(labels) > len(wanted) and _suffix(labels, wanted)
    return labels == wanted


def _covers(constraint: Constraint, value: Any) -> bool:
    """Whether the whole of `value` lies in the subtree. Both are of the constraint's kind and well formed."""
    kind, base = constraint.kind, constraint.base
    if kind is x509.DNSName:
        return _suffix(value, base)
    if kind is x509.DirectoryName:
        return within(value, base)
    if kind is x509.IPAddress:
        return value in base
    if kind is x509.UniformResourceIdentifier:
        return _host_matches(value, base)
    form, wanted = base
    if form == "mailbox":
        return bool(value == wanted)
    return _host_matches(tuple(value[1].split(".")), base)


def _touches(constraint: Constraint, value: Any) -> bool:
    """Whether any part of `value` lies in the subtree: more than `_covers` only for a wildcard."""
    if constraint.kind is x509.DNSName and value and value[0] == "*":
        parent, base = value[1:], constraint.base
        return _suffix(parent, base) or (len(base) == len(parent) + 1 and base[1:] == parent)
    return _covers(constraint, value)


def _violation(name: Presented, imposed: Subtrees) -> str:
    """How `name` breaks the constraints of one CA, in words; empty when it does not."""
    permitted = [c for c in imposed.permitted if c.kind is name.kind]
    excluded = [c for c in imposed.excluded if c.kind is name.kind]
    if not permitted and not excluded:
        return ""
    where = f"the name constraints of {imposed.imposed_by}"
    if imposed.problem:
        return f"{where} cannot be applied: {imposed.problem}"
    malformed = next((c for c in (*permitted, *excluded) if c.base is None), None)
    if malformed is not None:
        return f"{where} cannot be applied to {name.shown}: {malformed.shown} is not understood"
    if name.value is None:
        return f"{name.shown} cannot be compared with {where}"
    if permitted and not any(_covers(c, name.value) for c in permitted):
        return f"{name.shown} is not in what {where} permit"
    hit = next((c for c in excluded if _touches(c, name.value)), None)
    return f"{name.shown} is excluded ({hit.shown}) by {where}" if hit else ""


def _first_violation(names: Iterable[Presented], imposed: Sequence[Subtrees]) -> str:
    return next((why for name in names for one in imposed if (why := _violation(name, one))), "")


def violations(subject: x509.Name, alternative: Iterable[x509.GeneralName], cas: Iterable[Facts]) -> list[str]:
    """How a certificate with these names would break the constraints of the CAs above it, in words; for whoever is about to sign it."""
    names = [_presented(x509.DirectoryName(subject)), *(_presented(name) for name in alternative)]
    imposed = [own for ca in cas if (own := subtrees(ca))]
    return [why for name in names for one in imposed if (why := _violation(name, one))]


def check_constraints(path: Sequence[Facts], anchor: Facts, meter: Meter) -> list[Check]:
    """Apply every constraint to every certificate below it. `path` starts at the leaf; the anchor is not in it.

    A self-issued certificate that is not the leaf is exempt.
    """

    def imposed_by(ca: Facts) -> list[Subtrees]:
        own = meter.once("subtrees", ca.der, lambda: subtrees(ca))
        return [own] if own else []

    imposed = imposed_by(anchor)
    checks: list[Check] = []
    for position in range(len(path) - 1, -1, -1):
        certificate = path[position]
        if imposed and not (certificate.self_issued and position > 0):
            names = meter.once("names", certificate.der, partial(presented_names, certificate))
            work = len(names) * sum(len(one.permitted) + len(one.excluded) for one in imposed)
            if meter.take("comparisons", work):
                why, remedy = _first_violation(names, imposed), "issue it from a CA that may issue for these names"
            else:
                why, remedy = f"{work} comparisons of names with constraints are over the budget", ""
            if why:
                checks.append(failed("name-constraints", _PARAGRAPH, why, position, certificate.title, remedy))
        imposed += imposed_by(certificate) if position > 0 else []
    if not checks:
        words = "all names are inside the name constraints" if imposed else "no CA constrains the names"
        checks.append(passed("name-constraints", _PARAGRAPH, words))
    return checks
