"""A live server as people type it: `HOST:PORT`, or the URL of something on it."""

import re
from typing import NamedTuple

from edgeward.errors import UsageError, printable

_HOST = r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]|[^\s/:@\[\]]{1,255}"
_SERVER = rf"(?:(?P<scheme>https|wss|tls)://)?(?P<host>{_HOST}):(?P<port>[0-9]{{1,5}})(?:/\S*)?"
_URL = rf"(?P<scheme>https|wss|tls)://(?P<host>{_HOST})(?:/\S*)?"


class Server(NamedTuple):
    """Where to dial. `scheme` is empty where none was typed; `host` is a DNS name as it goes over the wire, or an IP address without
    brackets; a URL without a port means 443."""

    host: str
    port: int
    scheme: str = ""


def server(text: str) -> Server | None:
    """The server that `text` names; None where it has another form. Raises `UsageError` for a port or a host that cannot be."""
    found = re.fullmatch(_SERVER, text) or re.fullmatch(_URL, text)
    if found is None:
        return None
    parts = found.groupdict()
    port = int(parts.get("port") or 443)
    if not 1 <= port <= 65535:
        raise UsageError(problem=f"{port} is not a port: it has 1 to 65535")
    return Server(scheme=parts["scheme"] or "", host=wire(parts["host"].strip("[]")), port=port)


def wire(host: str) -> str:
    """A host name as it goes over the wire: letters beyond ASCII become Punycode (RFC 3490). Raises `UsageError`."""
    try:
        return host if ":" in host else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        reason = str(error.__cause__ or error)
        raise UsageError(problem=f"{printable(host)} is not a host name: {reason}") from error
