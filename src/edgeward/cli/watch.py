"""`edgeward watch`: what the nodes say, and who comes and goes."""

import gc
from pathlib import Path
from urllib.parse import urlencode

import click

from edgeward.cli.client import Client
from edgeward.cli.options import data_option, json_text


@click.command()
@click.option("--count", type=int, default=0, help="Stop after so many events.")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(["message", "presence", "delivery"]),
    help="What to hear of; may be repeated.  [default: message]",
)
@click.option("--node", metavar="GLOB", help="Of these nodes.")
@click.option("--group", metavar="GLOB", help="Messages for this group of modules.")
@click.option("--resource", metavar="GLOB", help="Messages about these resources; * matches slashes, too.")
@click.option("--operation", metavar="GLOB", help="Messages with this operation.")
@data_option
def command(data: Path, count: int, types: tuple[str, ...], **patterns: str | None) -> None:
    """Print what happens, one JSON object a line: messages from nodes (`node`, `received`, `message`); with --type also who comes, goes
    and is refused, and how messages to nodes ended. `lost` says how many were missed because nobody read them in time.

    \b
    Examples:
      edgeward watch
      edgeward watch --node 'edge-*' --operation upload
      edgeward watch --type presence
      edgeward watch --count 1 | python3 -m json.tool
    """
    gc.enable()  # the command line switched it off for the sake of short commands
    asked = {name: pattern for name, pattern in patterns.items() if pattern is not None}
    if types:
        asked["type"] = ",".join(types)
    path = "/v1/messages" + (f"?{urlencode(asked)}" if asked else "")
    for number, event in enumerate(Client(data).stream(path), 1):
        click.echo(json_text(event))
        if number == count:
            return
