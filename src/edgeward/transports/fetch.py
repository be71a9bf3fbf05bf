"""Fetching a small public thing over plain HTTP, such as an issuer's certificate by the address in a certificate: bounded in every way,
because whoever made the certificate chose the address.

- Plain `http` alone. What is fetched proves itself by its signature; a file, another scheme or a user name in the URL is refused.
- Only addresses of the public Internet, unless the caller allows private ones. A name is resolved once and that very address is dialled
  (a name that resolves to something else the second time gains nothing), and every redirect is judged like the first address.
- Ports 80 and from 1024 on: nobody speaks to a mail server or a database by a certificate's leave.
- `MAX_OCTETS`, `SECONDS` for everything together, `REDIRECTS`.
"""

import contextlib
import http.client
import ipaddress
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from edgeward.errors import TooLarge, Unreachable, UsageError

MAX_OCTETS = 1024 * 1024
SECONDS = 10.0
REDIRECTS = 5

_HEADERS = {"User-Agent": "edgeward", "Accept": "*/*", "Connection": "close"}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotAllowed(UsageError):
    """An address that is not fetched from, whoever asks."""

    sentence = "{url} is not fetched: {why}"
    remedy = "{next}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What was there, and at which address in the end."""

    url: str
    body: bytes


def fetch(url: str, *, private: bool = False, seconds: float = SECONDS) -> Fetched:
    """What is at `url`. `private`: addresses of private networks and of this machine are allowed too.

    Raises `NotAllowed`, `TooLarge`, or `Unreachable` for a server that is not there, too slow, or answers anything but 200.
    """
    deadline = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        parts = _judged(url)
        address = _resolved(url, parts, private)
        answer = _asked(url, parts, address, deadline)
        if isinstance(answer, bytes):
            return Fetched(url=url, body=answer)
        url = urljoin(url, answer)
    raise Unreachable(address=url, why=f"there are more than {REDIRECTS} redirects")


def _judged(url: str) -> SplitResult:
    """The parts of a URL that may be fetched."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise NotAllowed(url=url, why="it is no URL", next="") from error
    if parts.scheme != "http":
        raise NotAllowed(url=url, why="it is not plain http", next="fetch it another way, and give the file")
    if not parts.hostname or parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
        raise NotAllowed(url=url, why="it names no host, or more than one", next="")
    if port != 80 and port < 1024:
        raise NotAllowed(url=url, why=f"port {port} is for something else", next="")
    return parts


def allowed(address: Address, *, private: bool) -> bool:
    """Whether an address may be dialled: a public unicast one, or, if `private`, one of a private network or this machine. Addresses
    that stand for an IPv4 one (mapped, 6to4, Teredo, NAT64) are judged as that one."""
    inner = _inner(address)
    if inner is not None:
        return allowed(inner, private=private)
    if address.is_loopback or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local):
        return private
    if address.is_multicast or address.is_unspecified or address.is_reserved:
        return False
    if address.is_link_local or address in _CREDENTIALS:
        return False
    return address.is_global or private


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


_CREDENTIALS = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
"""Where clouds keep the credentials of their machines, besides 169.254.169.254 and its like, which are link-local."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _resolved(url: str, parts: SplitResult, private: bool) -> str:
    """The address to dial; all that the name has must be allowed."""
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(address=url, why=(getattr(error, "strerror", None) or str(error)).lower()) from error
    addresses = [str(one[4][0]).partition("%")[0] for one in found]
    for address in addresses:
        if not allowed(ipaddress.ip_address(address), private=private):
            raise NotAllowed(
                url=url,
                why=f"{address} is not on the public Internet",
                next="" if private else "if it is a server of your own network: --aia-private",
            )
    if not addresses:
        raise Unreachable(address=url, why="its name has no address")
    return addresses[0]


def _asked(url: str, parts: SplitResult, address: str, deadline: float) -> bytes | str:
    """One exchange: the body, or where a redirect leads."""
    left = max(deadline - time.monotonic(), 0.01)
    connection = http.client.HTTPConnection(address, parts.port or 80, timeout=left)
    # The limit of a socket is for one read: a server that sends an octet now and then is cut off from outside.
    timer = threading.Timer(left, lambda: _cut(connection))
    timer.daemon = True
    timer.start()
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers=_HEADERS | {"Host": parts.netloc})
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308) and answer.headers.get("Location"):
            return str(answer.headers["Location"])
        if answer.status != 200:
            raise Unreachable(address=url, why=f"the server answers {answer.status}")
        return _body(url, answer, deadline)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        late = time.monotonic() >= deadline
        raise Unreachable(address=url, why="it takes too long" if late else why.lower()) from error
    finally:
        timer.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _body(url: str, answer: http.client.HTTPResponse, deadline: float) -> bytes:
    body = b""
    while len(body) <= MAX_OCTETS:
        piece = answer.read1(64 * 1024)
        if time.monotonic() >= deadline:  # what was cut off looks like an end
            raise Unreachable(address=url, why="it takes too long")
        if not piece:
            return body
        body += piece
    raise TooLarge(what=url, limit=MAX_OCTETS)
