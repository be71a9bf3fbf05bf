"""`edgeward message`: what became of messages to nodes, what waits, and taking one back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
from rich.console import Console
from rich.table import Table

from edgeward.cli.client import Client
from edgeward.cli.options import Group, ago, data_option, json_option, json_text, print_json
from edgeward.errors import printable


@click.group(cls=Group)
def command() -> None:
    """What became of messages to nodes.

    \b
    Examples:
      edgeward message list --node edge-1
      edgeward message show 0d5a8a3e-6f6c-4b0e-9d1c-0f6f3e1f2a11
      edgeward message cancel 0d5a8a3e-6f6c-4b0e-9d1c-0f6f3e1f2a11
      edgeward message queues
    """


@command.command()
@click.argument("msg_id")
@data_option
@json_option
def show(data: Path, as_json: bool, msg_id: str) -> None:
    """Show what became of a message: when it was queued, sent, ended, how often it was tried and what the node said.

    \b
    Example:
      edgeward message show 0d5a8a3e-6f6c-4b0e-9d1c-0f6f3e1f2a11
    """
    receipt = Client(data).call("GET", f"/v1/messages/{msg_id}")
    if as_json:
        print_json(receipt)
        return
    for name, value in receipt.items():
        if value is not None:
            text = json_text(value) if name == "answer" else printable(value, 1000)
            click.echo(f"{name + ':':14}{text}")


@command.command("list")
@click.option("--node", help="Of this node alone.")
@click.option("--waiting", is_flag=True, help="Only those that have not ended.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@data_option
@json_option
def list_(data: Path, as_json: bool, node: str | None, waiting: bool, limit: int) -> None:
    """List messages, the newest first.

    \b
    Examples:
      edgeward message list --node edge-1 --waiting
      edgeward message list --json
    """
    asked = {"limit": limit} | ({"node": node} if node else {}) | ({"live": 1} if waiting else {})
    receipts = Client(data).call("GET", f"/v1/receipts?{urlencode(asked)}")
    if as_json:
        print_json(receipts)
    elif receipts:
        Console(width=200).print(_receipts(receipts))
    else:
        click.echo("no messages", err=True)


@command.command()
@click.argument("msg_id")
@data_option
@json_option
def cancel(data: Path, as_json: bool, msg_id: str) -> None:
    """Take a message back that has not ended. One that is under way may reach the node all the same.

    \b
    Example:
      edgeward message cancel 0d5a8a3e-6f6c-4b0e-9d1c-0f6f3e1f2a11
    """
    cancelled = Client(data).call("DELETE", f"/v1/messages/{msg_id}")
    if as_json:
        print_json(cancelled)
    else:
        click.echo(f"{msg_id} cancelled" if cancelled["cancelled_now"] else f"{msg_id} had ended before")
    if not cancelled["cancelled_now"]:
        raise click.exceptions.Exit(1)


@command.command()
@data_option
@json_option
def queues(data: Path, as_json: bool) -> None:
    """Show for which nodes messages wait, how many, and for how long.

    \b
    Example:
      edgeward message queues
    """
    waiting = Client(data).call("GET", "/v1/queues")
    if as_json:
        print_json(waiting)
        return
    if not waiting:
        click.echo("nothing waits", err=True)
        return
    now = datetime.now(UTC)
    table = _table("NODE", "MESSAGES", "BYTES", "OLDEST")
    for one in waiting:
        oldest = ago(datetime.fromisoformat(one["oldest"]), now)
        table.add_row(one["node"], str(one["messages"]), str(one["octets"]), f"{oldest} ago")
    Console(width=200).print(table)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _receipts(receipts: list[dict[str, Any]]) -> Table:
    now = datetime.now(UTC)
    table = _table("MESSAGE", "NODE", "STATE", "QUEUED", "TRIES", "BYTES", "OPERATION", "RESOURCE")
    for one in receipts:
        queued = ago(datetime.fromisoformat(one["queued_at"]), now) + " ago"
        numbers = (str(one["attempts"]), str(one["octets"]))
        table.add_row(one["msg_id"], one["node"], one["state"], queued, *numbers, one["operation"], one["resource"])
    return table
