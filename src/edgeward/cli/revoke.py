"""`edgeward revoke`: a node or a certificate, for good."""

from pathlib import Path

import click

from edgeward.cli.client import Client
from edgeward.cli.operator import warn_of_tokens
from edgeward.cli.options import data_option, json_option, print_json
from edgeward.model.authority import Reason


@click.command()
@click.argument("target", metavar="NODE|serial:HEX")
@click.option(
    "--reason",
    type=click.Choice([reason.value for reason in Reason], case_sensitive=False),
    metavar="REASON",
    default=Reason.UNSPECIFIED.value,
    show_default=True,
    help="Why (RFC 5280 section 5.3.1): "
    + ", ".join(Reason)
    + ". After keyCompromise the key is never certified again.",
)
@data_option
@json_option
def command(data: Path, as_json: bool, target: str, reason: str) -> None:
    """Revoke a node, which blocks it and cuts its session at once, or a single certificate by its serial.

    A blocked node stays out until `edgeward token new --node NAME --unblock`.

    \b
    Examples:
      edgeward revoke edge-7 --reason keyCompromise
      edgeward revoke serial:d070b22f8a7f1fb88d90642d358d64e5
    """
    done = Client(data).call("POST", "/v1/revocations", {"target": target, "reason": reason})
    if as_json:
        print_json(done)
        return
    for certificate in done["revoked"]:
        click.echo(f"revoked certificate {certificate['serial']} of {certificate['identity']} ({reason})")
    if done["node"]:
        click.echo(
            f"node {done['node']} is blocked; to let it back: edgeward token new --node {done['node']} --unblock"
        )
    elif not done["revoked"]:
        click.echo("it was revoked before; nothing changed")
    else:
        warn_of_tokens(done["revoked"][0]["identity"], done["tokens"])
