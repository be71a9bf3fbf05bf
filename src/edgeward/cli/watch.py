"""`edgeward watch`: what the nodes say."""

import gc
from pathlib import Path

import click
import msgspec

from edgeward.cli.client import Client
from edgeward.cli.options import data_option


@click.command()
@click.option("--count", type=int, default=0, help="Stop after so many messages.")
@data_option
def command(data: Path, count: int) -> None:
    """Print the messages that nodes send, one JSON object a line: `node`, `received`, `message`.

    \b
    Examples:
      edgeward watch
      edgeward watch --count 1 | python3 -m json.tool
    """
    gc.enable()  # the command line switched it off for the sake of short commands
    for number, event in enumerate(Client(data).stream("/v1/messages"), 1):
        click.echo(msgspec.json.encode(event))
        if number == count:
            return
