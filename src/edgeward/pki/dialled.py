"""What a client dials and what a certificate is for: how Go, OpenSSL, Java, Node, Python and browsers compare the two, and what they print.

They agree on the plain cases (RFC 9525) and differ in three: whether the common name counts where there is no DNS name, how broad a
wildcard may be, and what they say. The rules and words were compared with the programs themselves (tests/doctor/test_said.py).
"""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509
from cryptography.x509.oid import NameOID

from edgeward.errors import printable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_SHOWN = 40


class Client(StrEnum):
    """The programs whose judgement people meet."""

    GO = "Go"
    OPENSSL = "OpenSSL"
    JAVA = "Java"
    NODE = "Node"
    PYTHON = "Python"
    BROWSER = "browsers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a certificate is for. `present`: it has a subjectAltName at all; `other`: entries of other kinds, for people."""

    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    common_name: str = ""
    present: bool = False

    @staticmethod
    def of(certificate: x509.Certificate) -> "Names":
        """The names of a certificate."""
        common = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        try:
            san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return Names(common_name=common[-1] if common else "")
        return Names(
            dns=tuple(one.value for one in san if isinstance(one, x509.DNSName)),
            addresses=tuple(str(one.value) for one in san if isinstance(one, x509.IPAddress)),
            other=tuple(_other(one) for one in san if not isinstance(one, x509.DNSName | x509.IPAddress)),
            common_name=common[-1] if common else "",
            present=True,
        )

    @property
    def listed(self) -> str:
        """The names for people: `DNS:localhost, IP:10.0.2.15`."""
        all_ = [*(f"DNS:{name}" for name in self.dns), *(f"IP:{one}" for one in self.addresses)]
        shown = ", ".join(all_[:MAX_SHOWN]) + (", …" if len(all_) > MAX_SHOWN else "")
        return shown or "no name at all"


def _other(name: x509.GeneralName) -> str:
    if isinstance(name, x509.UniformResourceIdentifier):
        return f"URI:{name.value}"
    return f"email:{name.value}" if isinstance(name, x509.RFC822Name) else type(name).__name__


def address(text: str) -> Address | None:
    """`text` as an IP address (a zone is cut off), or None."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _matches(pattern: str, name: str, labels: int) -> bool:
    """Whether a DNS entry covers `name`; a wildcard needs `labels` labels after it."""
    pattern, name = pattern.lower(), name.lower().removesuffix(".")
    if not pattern or pattern.endswith(".") or not name:
        return False
    if pattern == name:
        return "*" not in name
    first, _, rest = pattern.partition(".")
    mine, _, parent = name.partition(".")
    return first == "*" and bool(mine) and rest == parent and (rest.count(".") + 1 if rest else 0) >= labels


_LABELS = {Client.GO: 0, Client.OPENSSL: 2, Client.PYTHON: 2, Client.NODE: 2, Client.JAVA: 1, Client.BROWSER: 2}
"""Labels that must follow a wildcard: Go takes `*`, Java `*.lan` (not `*.com`: it knows registries), the others want two."""

_COMMON_NAME = {Client.OPENSSL, Client.PYTHON, Client.NODE, Client.JAVA}
"""Those that look at the common name where there is no DNS name among the alternative names."""


def accepts(client: Client, names: Names, dialled: str) -> bool:
    """Whether `client` takes a certificate with `names` for `dialled`, an IP address or a DNS name."""
    wanted = address(dialled)
    if wanted is not None:
        return str(wanted) in names.addresses
    if any(_matches(pattern, dialled, _LABELS[client]) for pattern in names.dns):
        return True
    fallback = client in _COMMON_NAME and not names.dns
    return fallback and _matches(names.common_name, dialled, _LABELS[client])


def why_not(names: Names, dialled: str) -> str:
    """The id of the finding for a name that Go, and with it every edge, refuses; empty when it takes it."""
    if accepts(Client.GO, names, dialled):
        return ""
    bare = dialled.removesuffix(".")
    if not names.present and names.common_name.lower() == bare.lower():
        return "common-name-only"
    if address(dialled) is not None:
        if any(_same(entry, dialled) for entry in names.dns):
            return "ip-in-dns-san"
        return "address-mismatch" if names.addresses else "no-ip-sans" if names.dns else "no-names"
    if not names.dns and _matches(names.common_name, dialled, 0):
        return "common-name-only"
    return "name-mismatch" if names.dns or names.addresses else "no-names"


def _same(entry: str, dialled: str) -> bool:
    return address(entry) is not None and address(entry) == address(dialled)


def explained(names: Names, dialled: str) -> list[str]:
    """Every name of the certificate and why it does or does not cover `dialled`, a line each."""
    lines = [f"DNS:{entry or '(empty)'}  {_dns(entry, dialled)}" for entry in names.dns[:MAX_SHOWN]]
    wanted = address(dialled)
    for one in names.addresses[:MAX_SHOWN]:
        verdict = "matches" if wanted is not None and str(wanted) == one else "no: another address"
        lines.append(f"IP:{one}  {verdict if wanted is not None else 'no: a name was dialled'}")
    lines += [f"{entry}  no: clients compare no such entry" for entry in names.other[:MAX_SHOWN]]
    if names.common_name:
        lines.append(f"CN={names.common_name}  {_common(names, dialled)}")
    return [printable(line, 300) for line in lines]


def _dns(entry: str, dialled: str) -> str:
    if not entry.strip():
        return "no: it is empty (KubeEdge writes it when dnsNames is not set)"
    if address(entry) is not None:
        return (
            "no: an address in a DNS entry, where no client looks for it"
            if _same(entry, dialled)
            else "no: an address as DNS"
        )
    if address(dialled) is not None:
        return "no: an address was dialled, and it counts as an IP entry alone"
    if _matches(entry, dialled, 2):
        return "matches"
    if _matches(entry, dialled, 0):
        return "matches for Go and Java: others want two labels after the *"
    if entry.endswith("."):
        return "no: it ends with a dot"
    if "*" in entry:
        return (
            "no: * stands for exactly one label, the left-most"
            if entry.startswith("*.")
            else "no: * is allowed as a whole left-most label"
        )
    return "no: another name"


def _common(names: Names, dialled: str) -> str:
    same = names.common_name.lower() == dialled.lower().removesuffix(".")
    if names.dns or address(dialled) is not None:
        return "is not looked at" + (", though it is what was dialled" if same else "")
    return (
        "counts for OpenSSL, Python, Node and Java, not for Go and browsers"
        if same
        else "another name, and Go ignores it"
    )


def go_says(names: Names, dialled: str) -> str:
    """What Go's crypto/x509 prints (verify.go, HostnameError), without the prefix of crypto/tls."""
    bare = dialled.partition("%")[0]
    if not names.present and names.common_name.lower() == bare.lower().removesuffix("."):
        return "x509: certificate relies on legacy Common Name field, use SANs instead"
    if address(bare) is not None:
        if not names.addresses:
            return f"x509: cannot validate certificate for {bare} because it doesn't contain any IP SANs"
        if len(names.addresses) >= 100:
            return f"x509: certificate is valid for {len(names.addresses)} IP SANs, but none matched {bare}"
        valid = ", ".join(names.addresses)
    elif len(names.dns) >= 100:
        return f"x509: certificate is valid for {len(names.dns)} names, but none matched {bare}"
    else:
        valid = ", ".join(names.dns)
    if not valid:
        return f"x509: certificate is not valid for any names, but wanted to match {bare}"
    return f"x509: certificate is valid for {valid}, not {bare}"


def said(names: Names, dialled: str) -> dict[Client, str]:
    """What each client that refuses the certificate for `dialled` prints."""
    is_address = address(dialled) is not None
    says = {
        Client.GO: f"tls: failed to verify certificate: {go_says(names, dialled)}",
        Client.OPENSSL: f"verify error:num={64 if is_address else 62}:{'IP address' if is_address else 'hostname'} mismatch",
        Client.JAVA: _java(names, dialled, is_address),
        Client.NODE: _node(names, dialled, is_address),
        Client.PYTHON: "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed:"
        f" {'IP address' if is_address else 'Hostname'} mismatch, certificate is not valid for '{dialled}'.",
        Client.BROWSER: "NET::ERR_CERT_COMMON_NAME_INVALID",
    }
    return {client: text for client, text in says.items() if not accepts(client, names, dialled)}


def _java(names: Names, dialled: str, is_address: bool) -> str:
    if is_address:
        what = f"matching IP address {dialled} found" if names.present else "present"
        return f"javax.net.ssl.SSLHandshakeException: No subject alternative names {what}"
    if names.dns:
        return f"javax.net.ssl.SSLHandshakeException: No subject alternative DNS name matching {dialled} found."
    return f"javax.net.ssl.SSLHandshakeException: No name matching {dialled} found"


def _node(names: Names, dialled: str, is_address: bool) -> str:
    prefix = "Hostname/IP does not match certificate's altnames: "
    if is_address:
        return f"{prefix}IP: {dialled} is not in the cert's list: {', '.join(names.addresses)}"
    if names.dns:
        entries = [*(f"DNS:{name}" for name in names.dns), *(f"IP Address:{one}" for one in names.addresses)]
        return f"{prefix}Host: {dialled}. is not in the cert's altnames: {', '.join(entries)}"
    if names.common_name:
        return f"{prefix}Host: {dialled}. is not cert's CN: {names.common_name}"
    return f"{prefix}Cert does not contain a DNS name"
