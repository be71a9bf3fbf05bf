"""`edgeward why`: the server's half of the story of a node that fails."""

import ipaddress
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from edgeward.cli.client import Client
from edgeward.cli.doctor import rendered
from edgeward.cli.options import data_option, json_option, print_json
from edgeward.errors import NotFound, UsageError, printable
from edgeward.model.diagnosis import Diagnosis, Section
from edgeward.model.finding import Finding
from edgeward.pki.severity import Severity, worst_first

MOST = 200
"""Records that are asked for."""


@click.command()
@click.argument("target", metavar="NODE|ADDRESS")
@click.option("--all", "everything", is_flag=True, help="Tell of what is over, too.")
@data_option
@json_option
def command(target: str, data: Path, as_json: bool, everything: bool) -> int:
    """Tell why NODE, or whoever is at the IP ADDRESS, fails: each failed handshake, refused enrolment and refused connection that the
    server remembers (30 days), what it dialled, what it showed, and what to type.

    Exit status: 0 when nothing fails (any more), 1 when something does or the node was never heard of, 69 when no server is running.

    \b
    Examples:
      edgeward why edge-7
      edgeward why 10.1.2.3
      edgeward why edge-7 --json
    """
    address = _address(target)
    kind = "address" if address else "node"
    client = Client(data)
    records: list[dict[str, Any]] = client.call("GET", f"/v1/failures?{kind}={quote(address or target)}&limit={MOST}")
    nodes = [
        node
        for node in client.call("GET", "/v1/nodes")
        if (node["address"] == address if address else node["name"] == target)
    ]
    if not records and not nodes:
        raise NotFound(what=kind, name=f"{address or target} was ever heard of here")
    found = [Finding.from_json(record["finding"]) for record in records]
    shown = tuple(one for one in _grouped(found) if everything or one.severity is not Severity.NOTE)
    diagnosis = Diagnosis(
        subject=address or target,
        findings=shown,
        sections=(
            Section(
                title=address or target,
                lines=tuple(line for node in nodes for line in _standing(node)) or ("not a node that is known here",),
            ),
        ),
        facts={"nodes": nodes, "failures": records},
    )
    if as_json:
        print_json(diagnosis.as_json())
    else:
        for line in rendered(diagnosis):
            click.echo(line)
        left = len(found) - len([one for one in found if everything or one.severity is not Severity.NOTE])
        if left:
            click.echo(
                f"{left} older or harmless records are not shown: edgeward why {printable(target)} --all", err=True
            )
    return 0 if diagnosis.healthy else 1


def _address(target: str) -> str:
    """The address in TARGET in its usual form, empty when it is a node's name. Raises `UsageError` for what is neither."""
    text = target.strip("[]")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    host, colon, port = target.rpartition(":")
    if colon and port.isdecimal():
        return _address(host)
    if not target or not all(c.isascii() and (c.isalnum() or c in ".-") for c in target):
        raise UsageError(problem=f"{printable(target)!r} is neither a node's name nor an IP address")
    return ""


def _grouped(found: list[Finding]) -> list[Finding]:
    """Each cause once, the newest record of it, errors first: what fails now is what a person wants to read."""
    seen: dict[tuple[str, str, str], Finding] = {}
    for one in found:
        facts = dict(one.facts)
        seen.setdefault((one.id, facts.get("dialled", ""), facts.get("node", facts.get("client", ""))), one)
    return worst_first(seen.values())


def _standing(node: dict[str, Any]) -> Iterator[str]:
    cause = f" ({node['cause']})" if node["cause"] and node["state"] != "online" else ""
    seen = "never seen" if node["last_seen"] is None else f"last seen {_moment(node['last_seen'])}"
    where = f" from {node['address']}" if node["address"] else ""
    certificate = node["certificate"]
    until = "no certificate" if certificate is None else f"certificate until {_moment(certificate['not_after'])}"
    yield f"{node['name']} is {node['state']}{cause} since {_moment(node['since'])}; {seen}{where}; {until}"
    if node["state"] == "revoked":
        yield f"to let it back: edgeward token new --node {node['name']} --unblock"


def _moment(at: str) -> str:
    """A moment of the API's to the second."""
    return datetime.fromisoformat(at).strftime("%Y-%m-%dT%H:%M:%SZ")
