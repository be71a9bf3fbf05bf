"""`edgeward send`: a message to a node."""

from pathlib import Path

import click
import msgspec

from edgeward.cli.client import Client
from edgeward.cli.options import data_option, json_option, print_json, read_input


@click.command()
@click.argument("node")
@click.argument("content", default="null")
@click.option("--operation", required=True, help="What to do: insert, update, delete, query, …")
@click.option("--resource", required=True, help="What to do it to: default/configmap/settings.")
@click.option("--group", default="resource", show_default=True, help="The group of modules it is for.")
@click.option("--source", default="edgecontroller", show_default=True, help="The module it says it is from.")
@click.option("--wait", type=float, metavar="SECONDS", help="Wait for the node's answer and print it.")
@data_option
@json_option
def command(data: Path, as_json: bool, node: str, content: str, wait: float | None, **route: str) -> None:
    """Send a message to a connected node. CONTENT is JSON if it parses, else a string; - reads standard input.

    \b
    Examples:
      edgeward send edge-1 --operation update --resource default/configmap/settings '{"interval": 30}'
      edgeward send edge-1 --operation query --resource default/status/now --wait 5
    """
    if content == "-":
        content = read_input("-", 32 * 1024 * 1024).decode("utf-8", "replace")
    try:
        value = msgspec.json.decode(content)
    except msgspec.DecodeError:
        value = content
    sent = Client(data).call("POST", "/v1/messages", route | {"node": node, "content": value, "wait": wait})
    if as_json:
        print_json(sent)
    elif sent["answer"] is not None:
        click.echo(msgspec.json.format(msgspec.json.encode(sent["answer"]), indent=2))
    else:
        click.echo(f"sent {sent['msg_id']} to {node}")
