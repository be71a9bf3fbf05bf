"""`edgeward send`: a message to a node."""

from pathlib import Path

import click
import msgspec

from edgeward.cli import reading
from edgeward.cli.client import Client
from edgeward.cli.options import data_option, duration, json_option, print_json
from edgeward.errors import Unavailable

_STATUS = {"acknowledged": 0, "sent": 0, "superseded": 0, "failed": 1, "refused": 1, "cancelled": 1, "expired": 69}


class NotYet(Unavailable):
    """A message that had not ended when the time to wait for it was over; it stays in the queue."""

    sentence = "no answer within {seconds} s; message {msg_id} for {node} is {state}"
    remedy = "see what becomes of it: edgeward message show {msg_id}"

    def __init__(self, seconds: float, **facts: str) -> None:
        super().__init__(seconds=f"{seconds:g}", **facts)


@click.command()
@click.argument("node")
@click.argument("content", default="null")
@click.option("--operation", required=True, help="What to do: insert, update, delete, query, …")
@click.option("--resource", required=True, help="What to do it to: default/configmap/settings.")
@click.option("--group", default="resource", show_default=True, help="The group of modules it is for.")
@click.option("--source", default="edgecontroller", show_default=True, help="The module it says it is from.")
@click.option(
    "--resourceversion", metavar="N", help="The object's version; with metadata.uid in CONTENT, newer overtakes older."
)
@click.option("--id", "msg_id", metavar="ID", help="Its id: sent again with the same content, it is the same message.")
@click.option(
    "--lifetime", metavar="SPAN", help="Give it up after so long (90s, 2h, 1d) instead of the configured time."
)
@click.option(
    "--ack/--no-ack",
    "acknowledge",
    default=None,
    help="Whether the node is to acknowledge it; else the wire's rules say.",
)
@click.option("--wait", type=float, metavar="SECONDS", help="Wait for its end and print the node's answer.")
@data_option
@json_option
def command(
    data: Path,
    as_json: bool,
    node: str,
    content: str,
    wait: float | None,
    lifetime: str | None,
    **wanted: str | bool | None,
) -> None:
    """Queue a message for a node, online or not. CONTENT is JSON if it parses, else a string; - reads standard input.

    When this returns the message is durable; it is sent in its turn, again until it is acknowledged, and its id says later what
    became of it. With --wait: exit 0 when it was acknowledged, 1 when the node answered with an error or was revoked, 69 when there was
    no answer in time; then it stays queued.

    \b
    Examples:
      edgeward send edge-1 --operation update --resource default/configmap/settings '{"interval": 30}'
      edgeward send edge-1 --operation query --resource default/status/now --wait 5
    """
    if content == "-":
        content = reading.octets("-", 32 * 1024 * 1024).decode("utf-8", "replace")
    try:
        value = msgspec.json.decode(content)
    except msgspec.DecodeError:
        value = content
        if content.lstrip()[:1] in ("{", "["):
            click.echo("warning: CONTENT begins like JSON and is none, so it is sent as a string", err=True)
    body = {name: given for name, given in wanted.items() if given is not None} | {"node": node, "content": value}
    if wait is not None:
        body["wait"] = wait
    if lifetime is not None:
        body["lifetime_seconds"] = duration(lifetime).total_seconds()
    sent = Client(data).call("POST", "/v1/messages", body)
    if as_json:
        print_json(sent)
    elif sent["answer"] is not None:
        print_json(sent["answer"])
    else:
        click.echo(f"{sent['msg_id']} {sent['state']}")
    if wait is None or sent["state"] in ("acknowledged", "sent", "superseded"):
        return
    if sent["state"] in ("queued", "sending"):
        raise NotYet(wait, msg_id=sent["msg_id"], node=node, state=sent["state"])
    raise click.exceptions.Exit(_STATUS[sent["state"]])
