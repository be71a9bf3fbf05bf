"""`edgeward nodes`: who is there."""

import gc
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgeward.cli.client import Client
from edgeward.cli.options import ago, data_option, json_option, print_json

_COLOURS = {"online": "green", "offline": "yellow", "revoked": "red"}


@click.command()
@click.option("--watch", is_flag=True, help="Keep the table up to date until Ctrl-C.")
@data_option
@json_option
def command(data: Path, as_json: bool, watch: bool) -> None:
    """Show every node: online, offline (and why) or revoked, since when, and its certificate.

    \b
    Examples:
      edgeward nodes
      edgeward nodes --watch
      edgeward nodes --json
    """
    client = Client(data)
    nodes = client.call("GET", "/v1/nodes")
    if as_json:
        print_json(nodes)
        return
    console = Console() if sys.stdout.isatty() else Console(width=200)  # a pipe has no width: cut nothing
    if not watch:
        if nodes:
            console.print(_table(nodes))
        else:
            click.echo("no nodes yet; make a token for the first: edgeward token new --node NAME", err=True)
        return
    gc.enable()  # the command line switched it off for the sake of short commands
    with Live(_table(nodes), console=console, refresh_per_second=4) as live:
        while True:
            time.sleep(1)
            live.update(_table(client.call("GET", "/v1/nodes")))


def _table(nodes: list[dict[str, Any]]) -> Table:
    now = datetime.now(UTC)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("NODE", "STATE", "SINCE", "LAST SEEN", "ADDRESS", "CERTIFICATE", "EXPIRES"):
        table.add_column(column, no_wrap=True)
    for node in nodes:
        state = Text(node["state"], style=_COLOURS[node["state"]])
        if node["cause"] and node["state"] != "online":
            state.append(f" ({node['cause']})", style="dim")
        certificate = node["certificate"]
        seen = node["last_seen"]
        table.add_row(
            node["name"],
            state,
            ago(datetime.fromisoformat(node["since"]), now),
            "never" if seen is None else ago(datetime.fromisoformat(seen), now) + " ago",
            node["address"] or "",
            "" if certificate is None else certificate["serial"][:16] + "…",
            "" if certificate is None else certificate["not_after"][:10],
        )
    table.caption = f"{sum(node['state'] == 'online' for node in nodes)} of {len(nodes)} online"
    table.caption_justify = "left"
    return table
