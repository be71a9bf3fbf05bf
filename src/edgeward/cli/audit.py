"""`edgeward audit`: what was done, by whom, and whether the record of it is whole."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from edgeward.cli.client import Client
from edgeward.cli.options import data_option, json_option, print_json
from edgeward.errors import printable
from edgeward.model.audit import AuditRecord, first_bad


@click.group()
def command() -> None:
    """Read the audit log and verify its chain."""


def _records(data: Path) -> Iterator[dict[str, Any]]:
    after = 0
    while page := Client(data).call("GET", f"/v1/audit?after={after}"):
        yield from page
        after = page[-1]["n"]


@command.command("list")
@data_option
@json_option
def list_(data: Path, as_json: bool) -> None:
    """Print every record, oldest first.

    \b
    Example:
      edgeward audit list | tail
    """
    if as_json:
        print_json(list(_records(data)))
        return
    for record in _records(data):
        facts = " ".join(
            f"{name}={printable(value)}" for name, value in record["facts"].items() if value not in (None, [], "")
        )
        click.echo(
            f"{record['n']:>6}  {record['at']}  {record['actor']}  {record['action']}  {record['object']}  {facts}"
        )


@command.command("verify")
@data_option
@json_option
def verify(data: Path, as_json: bool) -> int:
    """Verify that no record was changed, removed, inserted or moved. Exit status 1 names the first bad record.

    \b
    Example:
      edgeward audit verify
    """
    records = list(_records(data))
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
