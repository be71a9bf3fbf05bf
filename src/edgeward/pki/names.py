"""The names a certificate may carry: node names, DNS names, addresses, URIs; and how each is shown.

A node name is a DNS-1123 subdomain of 1 to 52 characters, checked here before it meets a file name, a query or a log. General names
are the library's own immutable values; this module only makes sound ones and shows them.
"""

import ipaddress
import re

from cryptography import x509

from edgeward.errors import BadName

MAX_NODE_NAME = 52
"""Characters: a common name holds 64 (RFC 5280 appendix A, ub-common-name), and `system:node:` takes 12 of them."""

NODE_PREFIX = "system:node:"
NODES_ORGANIZATION = "system:nodes"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_1123 = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

GeneralName = x509.GeneralName


def node_name(text: str) -> str:
    """`text`, if it is a node name: a DNS-1123 subdomain of 1 to 52 characters. Raises `BadName`: the requester's fault."""
    if not text:
        why = "it is empty"
    elif len(text) > MAX_NODE_NAME:
        why = f"it has {len(text)} characters, and at most {MAX_NODE_NAME} fit into the certificate"
    elif not _DNS_1123.fullmatch(text):
        why = (
            "it must be lower-case letters, digits, `-` and `.`, each part beginning and ending with a letter or digit"
        )
    else:
        return text
    raise BadName(kind="node name", value=text, why=why)


def dns_name(text: str) -> str:
    """`text`, if it is a DNS host name of at most 253 characters in lower case (RFC 1123 section 2.1). Raises `BadName`."""
    if not text.isascii():
        why = "write it in its ASCII form (`xn--…`)"
    elif len(text) > 253:
        why = "it has more than 253 characters"
    elif not _DNS_1123.fullmatch(text) or text.rpartition(".")[2].isdigit():
        why = "it is neither a host name in lower case nor an IP address"
    else:
        return text
    raise BadName(kind="DNS name", value=text, why=why)


def server_name(text: str) -> GeneralName:
    """The subject alternative name for an address that clients dial: `10.0.0.1`, `fd00::1` (brackets allowed) or `edge.example`.

    Raises `BadName` with whose fault it is: whoever typed it. An address with a zone (`fe80::1%eth0`) means nothing elsewhere.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if "%" not in bare:
            return x509.IPAddress(ipaddress.ip_address(bare))
    except ValueError:
        pass
    return x509.DNSName(dns_name(text.lower()))


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network in CIDR notation in `text`; a bare address is a network of one. Raises `BadName`."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise BadName(kind="network", value=text, why=str(error)) from error


def show(name: GeneralName) -> str:
    """`name` as a person would type it: the bare DNS name or address, everything else with its kind before it."""
    match name:
        case x509.DNSName() | x509.IPAddress():
            return str(name.value)
        case x509.UniformResourceIdentifier():
            return f"URI:{name.value}"
        case x509.RFC822Name():
            return f"email:{name.value}"
        case x509.DirectoryName():
            return f"dirName:{name.value.rfc4514_string()}"
        case x509.RegisteredID():
            return f"registeredID:{name.value.dotted_string}"
        case x509.OtherName():
            return f"otherName:{name.type_id.dotted_string}"
        case _:
            return repr(name)


def common_names(name: x509.Name) -> tuple[str, ...]:
    """Every common name in a distinguished name, in order."""
    return tuple(str(a.value) for a in name.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME))


def organizations(name: x509.Name) -> tuple[str, ...]:
    """Every organization name in a distinguished name, in order."""
    return tuple(str(a.value) for a in name.get_attributes_for_oid(x509.oid.NameOID.ORGANIZATION_NAME))


def node_subject(node: str) -> tuple[tuple[x509.ObjectIdentifier, str], ...]:
    """The subject of a KubeEdge edge certificate, its inverse."""
    return (x509.oid.NameOID.ORGANIZATION_NAME, NODES_ORGANIZATION), (x509.oid.NameOID.COMMON_NAME, NODE_PREFIX + node)


def node_of(subject: x509.Name) -> str | None:
    """The node that a KubeEdge edge certificate's subject names: exactly one O=system:nodes and one CN=system:node:<name>; else None."""
    names = common_names(subject)
    if organizations(subject) != (NODES_ORGANIZATION,) or len(names) != 1 or not names[0].startswith(NODE_PREFIX):
        return None
    node = names[0].removeprefix(NODE_PREFIX)
    return node if len(node) <= MAX_NODE_NAME and _DNS_1123.fullmatch(node) else None
