"""`edgeward audit`: what was done, by whom, and whether the record of it is whole."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from edgeward.cli import offline
from edgeward.cli.client import Client
from edgeward.cli.options import Group, data_option, json_option, print_json
from edgeward.errors import printable
from edgeward.model.audit import AuditRecord, first_bad


@click.group(cls=Group)
def command() -> None:
    """Read the audit log and verify its chain."""


def _records(data: Path, ca_dir: Path | None, passphrase_file: Path | None) -> Iterator[dict[str, Any]]:
    if ca_dir is not None:
        yield from offline.run(_offline_records(ca_dir, passphrase_file))
        return
    after = 0
    while page := Client(data).call("GET", f"/v1/audit?after={after}"):
        yield from page
        after = page[-1]["n"]


async def _offline_records(ca_dir: Path, passphrase_file: Path | None) -> list[dict[str, Any]]:
    """The records of an offline CA, as the administrative API would answer them."""
    async with offline.opened(ca_dir, passphrase_file) as found:
        return [
            {
                "n": record.n,
                "at": datetime.fromtimestamp(record.at / 1000, UTC).isoformat().replace("+00:00", "Z"),
                "actor": record.actor,
                "action": record.action,
                "object": record.object,
                "facts": msgspec.json.decode(record.facts),
                "hash": record.hash.hex(),
            }
            for record in await found.ca.audit()
        ]


@command.command("list")
@offline.ca_dir(required=False)
@offline.options
@data_option
@json_option
def list_(data: Path, as_json: bool, ca_dir: Path | None, passphrase_file: Path | None) -> None:
    """Print every record, oldest first.

    \b
    Example:
      edgeward audit list | tail
      edgeward audit list --ca-dir ca
    """
    if as_json:
        print_json(list(_records(data, ca_dir, passphrase_file)))
        return
    for record in _records(data, ca_dir, passphrase_file):
        facts = " ".join(
            f"{name}={printable(value)}" for name, value in record["facts"].items() if value not in (None, [], "")
        )
        click.echo(
            f"{record['n']:>6}  {record['at']}  {record['actor']}  {record['action']}  {record['object']}  {facts}"
        )


@command.command("verify")
@offline.ca_dir(required=False)
@offline.options
@data_option
@json_option
def verify(data: Path, as_json: bool, ca_dir: Path | None, passphrase_file: Path | None) -> int:
    """Verify that no record was changed, removed, inserted or moved. Exit status 1 names the first bad record.

    \b
    Example:
      edgeward audit verify
    """
    records = list(_records(data, ca_dir, passphrase_file))
    bad = first_bad(
        AuditRecord(
            n=record["n"],
            at=round(datetime.fromisoformat(record["at"]).timestamp() * 1000),
            actor=record["actor"],
            action=record["action"],
            object=record["object"],
            facts=msgspec.json.Encoder(order="sorted").encode(record["facts"]).decode(),
            hash=bytes.fromhex(record["hash"]),
        )
        for record in records
    )
    if as_json:
        print_json({"records": len(records), "first_bad": bad})
    elif bad is None:
        click.echo(f"{len(records)} records, the chain is whole")
    else:
        click.echo(f"record {bad} does not follow from the one before it")
    return 0 if bad is None else 1
