"""`edgeward nodes`: who is there."""

import gc
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgeward.cli.client import Client
from edgeward.cli.options import ago, data_option, json_option, print_json

_COLOURS = {"online": "green", "offline": "yellow", "revoked": "red"}


@click.command()
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Keep the table up to date until Ctrl-C.")
@data_option
@json_option
def command(data: Path, as_json: bool, watch: bool, name: str | None) -> None:
    """Show every node: online, offline (and why) or revoked, since when, and its certificate. With a NAME, that node and what happened
    to it: when it came, went (and why), was refused (and why), and what was wrong with its clock.

    \b
    Examples:
      edgeward nodes
      edgeward nodes --watch
      edgeward nodes edge-1
      edgeward nodes --json
    """
    client = Client(data)
    if name is not None:
        _one(client, name, as_json)
        return
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


def _one(client: Client, name: str, as_json: bool) -> None:
    node = client.call("GET", f"/v1/nodes/{quote(name, safe='')}")
    history = client.call("GET", f"/v1/nodes/{quote(name, safe='')}/timeline")
    if as_json:
        print_json(node | {"timeline": history})
        return
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(_table([node]))
    if node["clock_skew_ms"] is not None:
        skew = node["clock_skew_ms"] / 1000
        click.echo(f"its clock: {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}, at its last connection")
    if node["refused"] is not None:
        click.echo(f"refused {node['refused']['at'][:19].replace('T', ' ')}: {node['refused']['why']}")
    if history:
        click.echo()
        console.print(_timeline(history, datetime.now(UTC)))


def _timeline(history: list[dict[str, Any]], now: datetime) -> Table:
    """The history drawn, the newest first: a line that is thick while the node was online."""
    table = Table(box=None, show_header=False, pad_edge=False)
    states = {"online": ("●", "green"), "offline": ("○", "yellow"), "refused": ("✗", "red"), "clock": ("◷", "cyan")}
    until = now
    online = next((one["event"] == "online" for one in history if one["event"] in ("online", "offline")), False)
    for moment in history:
        at = datetime.fromisoformat(moment["at"])
        sign, colour = states.get(moment["event"], ("·", "dim"))
        lasted = ""
        if moment["event"] in ("online", "offline"):
            lasted = f"for {ago(at, until)}"
            until, online = at, moment["event"] == "offline"
        line = Text("┃ " if online or moment["event"] == "online" else "│ ", style="green" if online else "dim")
        table.add_row(
            line.append(sign, style=colour),
            at.strftime("%Y-%m-%d %H:%M:%S"),
            Text(moment["event"], style=colour),
            lasted,
            moment["address"],
            moment["why"],
        )
    return table


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
