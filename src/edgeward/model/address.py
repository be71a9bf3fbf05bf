"""Hosts and ports as text: how they are written together, the host in what somebody wrote, the network
under which an address is counted, and whether a page is ours."""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit


def joined(host: str, port: int) -> str:
    """`HOST:PORT`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(text: str) -> str:
    """The host in a Host header (RFC 9110 section 7.2) or in `HOST:PORT`: in lower case, without the port, the brackets of an IPv6
    address and the dot at the end. Empty for what is neither, such as an IPv6 address without brackets."""
    text = text.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.partition(":")
    return "" if ":" in port else host.removesuffix(".")


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of this `Origin` (RFC 6454) may speak to whom the request's Host header calls `host`: host and port are the same."""
    try:
        authority = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(authority) and authority.lower() == host.strip().lower()


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """The key under which an IP address is counted: itself for IPv4, its /64 for IPv6 (one site holds at least that), else as it is."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64)) + "/64"
