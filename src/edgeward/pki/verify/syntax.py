"""The syntax of the names that certificates carry: host names, mailboxes and URIs.

Every function answers None for text that is not of its kind; nothing here raises. Labels come back in lower case.
"""

import ipaddress
import re
import string

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_LOOSE_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_ATOM = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~")  # RFC 5322 section 3.2.3
_QUOTED = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"\Z')
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?P<authority>//(?P<where>[^/?#]*))?[!-~]*\Z")


def host_labels(name: str, *, underscores: bool = False) -> tuple[str, ...] | None:
    """The labels of a host name in the preferred syntax: RFC 1034 section 3.5 as changed by RFC 1123 section 2.1.

    A name that is really an IPv4 address is not a host name. `underscores` admits what DNS carries and host names do
    not.
    """
    if not 1 <= len(name) <= 253 or not name.isascii():
        return None
    labels = tuple(name.lower().split("."))
    pattern = _LOOSE_LABEL if underscores else _LABEL
    if not all(pattern.match(label) for label in labels) or labels[-1].isdigit():
        return None
    return labels


def pattern_labels(name: str, *, underscores: bool = False) -> tuple[str, ...] | None:
    """Like `host_labels`, but the left-most label may be a lone `*` before at least one more label. RFC 9525 section
    6.3.
    """
    if not name.startswith("*."):
        return host_labels(name, underscores=underscores)
    labels = host_labels(name[2:], underscores=underscores)
    return ("*", *labels) if labels else None


def mailbox(address: str) -> tuple[str, str] | None:
    """(local part, host in lower case) of an e-mail address. RFC 5280 section 4.2.1.6, RFC 5321 section 4.1.2."""
    local, at, host = address.rpartition("@")
    if not at or not local.isascii() or len(local) > 64 or host_labels(host) is None:
        return None
    dotted = all(atom and _ATOM.issuperset(atom) for atom in local.split("."))
    if not dotted and not _QUOTED.match(local):
        return None
    return local, host.lower()


def is_uri(text: str) -> bool:
    """Whether `text` is an absolute URI in ASCII. RFC 5280 section 4.2.1.6."""
    return _URI.match(text) is not None


def uri_host(text: str) -> tuple[str, ...] | None:
    """The labels of the host in a URI's authority; None when there is no authority or its host is an address."""
    match = _URI.match(text)
    if match is None or match["where"] is None:
        return None
    host = match["where"].rpartition("@")[2]
    if not host.startswith("["):
        host, _, port = host.partition(":")
        if port and not port.isdigit():
            return None
    return host_labels(host, underscores=True)


def is_address(text: str) -> bool:
    """Whether `text` is an IPv4 or IPv6 address in any spelling that the standard library reads."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
