"""Where to dial: a host and a port, as people and tokens write them."""

import ipaddress
from dataclasses import dataclass

from edgeward.errors import BadName, UsageError
from edgeward.model.address import joined
from edgeward.pki import names

HTTPS_PORT = 10002
HUB_PORT = 10000
QUIC_PORT = 10001
"""UDP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A host (DNS name or IP address, without brackets) and a TCP port, 1 to 65535."""

    host: str
    port: int

    def __post_init__(self) -> None:
        try:
            names.server_name(self.host)
        except BadName as error:
            raise UsageError(problem=str(error)) from error
        if not 1 <= self.port <= 65535:
            raise UsageError(problem=f"a port is between 1 and 65535, not {self.port}")

    @staticmethod
    def parse(text: str, *, default_port: int, scheme: str) -> "Endpoint":
        """`HOST`, `HOST:PORT` or `SCHEME://HOST[:PORT][/]`; an IPv6 address with a port stands in brackets.

        Raises `UsageError`: the fault of whoever typed it.
        """
        before, found, rest = text.strip().rpartition("://")
        if found and before.lower() != scheme:
            raise UsageError(problem=f"{text!r} should begin with {scheme}://")
        rest = rest.removesuffix("/")
        if "/" in rest or "@" in rest or "?" in rest:
            raise UsageError(problem=f"{text!r} should be {scheme}://HOST:PORT and nothing else")
        host, port = _split(rest)
        if not port:
            return Endpoint(host=host.lower(), port=default_port)
        if not (port.isascii() and port.isdigit() and len(port) <= 5):
            raise UsageError(problem=f"{port!r} is not a port")
        return Endpoint(host=host.lower(), port=int(port))

    def __str__(self) -> str:
        return joined(self.host, self.port)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    try:
        ipaddress.ip_address(text)
    except ValueError:
        host, _, port = text.partition(":")
        return host, port
    return text, ""
