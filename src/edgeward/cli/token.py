"""`edgeward token`: join tokens."""

import contextlib
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from edgeward.cli.client import Answered, Client
from edgeward.cli.options import Group, data_option, duration, json_option, print_json
from edgeward.errors import NotFound, UsageError


def _key_id(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if re.fullmatch(r"[0-9a-f]{16}", value) is None:
        raise click.BadParameter("a key id is 16 hex digits: the first column of `edgeward token list`")
    return value


@click.group(cls=Group)
def command() -> None:
    """Make, list and revoke join tokens.

    A token lets a device enrol: bound to one node name or to a pattern, usable a number of times, until it expires.
    """


@command.command("new")
@click.option("--node", metavar="NAME", help="The one node that may use it.")
@click.option("--pattern", metavar="GLOB", help="Names that may use it, new ones only: 'shop-*'; * matches dots too.")
@click.option("--uses", type=int, default=1, show_default=True, help="How many certificates it is good for.")
@click.option("--ttl", default="24h", show_default=True, help="How long it lives: 90s, 30m, 24h, 7d.")
@click.option("--from", "network", metavar="CIDR", help="The only network it may be used from: 10.2.0.0/16.")
@click.option("--unblock", is_flag=True, help="Its use lets a revoked node return (with --node).")
@data_option
@json_option
def new(data: Path, as_json: bool, ttl: str, **wanted: Any) -> None:
    """Make a join token and print it, alone, on standard output.

    \b
    Examples:
      edgeward token new --node edge-1 > token
      edgeward token new --pattern 'shop-*' --uses 200 --ttl 7d --from 10.2.0.0/16
      edgeward token new --node edge-1 --unblock
    """
    body = wanted | {"lifetime_seconds": duration(ttl).total_seconds()}
    authority = Client(data)
    made = authority.call("POST", "/v1/tokens", body)
    if made["node"] is not None and not made["unblock"]:
        _warn_of_block(authority, made["node"])
    if as_json:
        print_json(made)
    else:
        click.echo(made["token"])


def _warn_of_block(authority: Client, name: str) -> None:
    """Say that a token for a revoked node lets nobody in: whoever makes one finds out here, and not at the device."""
    with contextlib.suppress(Answered):  # a node that was never here
        if authority.call("GET", f"/v1/nodes/{name}")["state"] == "revoked":
            click.echo(f"warning: node {name} is blocked, and this token does not let it back", err=True)
            click.echo(f"hint: if it may return: edgeward token new --node {name} --unblock", err=True)


@command.command("list")
@data_option
@json_option
def list_(data: Path, as_json: bool) -> None:
    """List the tokens that were made; their secrets are not kept.

    \b
    Example:
      edgeward token list
    """
    tokens = Client(data).call("GET", "/v1/tokens")
    if as_json:
        print_json(tokens)
        return
    if not tokens:
        click.echo("no tokens yet; make one: edgeward token new --node NAME", err=True)
        return
    click.echo(f"{'KEY ID':16}  {'STATE':8} {'USED':>10}  {'EXPIRES':20}  FOR")
    for token in tokens:
        expires = datetime.fromisoformat(token["expires_at"]).strftime("%Y-%m-%d %H:%M:%SZ")
        whom = token["node"] or f"pattern {token['pattern']}"
        origin = f" from {token['network']}" if token["network"] else ""
        used = f"{token['used']}/{token['uses']}"
        click.echo(f"{token['key_id']:16}  {token['state']:8} {used:>10}  {expires:20}  {whom}{origin}")


@command.command("uses")
@click.argument("key_id", callback=_key_id)
@data_option
@json_option
def uses(data: Path, as_json: bool, key_id: str) -> None:
    """Show every use of a token: when, by which node, from where.

    \b
    Example:
      edgeward token uses 3f2a9c01d4e5b677
    """
    found = Client(data).call("GET", f"/v1/tokens/{key_id}/uses")
    if as_json:
        print_json(found)
        return
    for use in found:
        click.echo(f"{use['at']}  {use['node']}  {use['address']}  serial {use['serial']}")


@command.command("revoke")
@click.argument("key_id", callback=_key_id)
@data_option
@json_option
def revoke(data: Path, as_json: bool, key_id: str) -> None:
    """Take a token back. KEY_ID is the first column of `token list`, or the second part of the token.

    \b
    Example:
      edgeward token revoke 3f2a9c01d4e5b677
    """
    done = Client(data).call("POST", f"/v1/tokens/{key_id}/revoke")
    if as_json:
        print_json(done)
    else:
        click.echo(f"token {key_id} is revoked" + ("" if done["revoked_now"] else " (it was before)"))


@command.command("standing")
@click.option("--pattern", required=True, metavar="GLOB", help="Names that may use it, new ones only.")
@click.option(
    "--refresh", default="12h", show_default=True, help="How often a new one is made; each lives twice as long."
)
@click.option("--from", "network", metavar="CIDR", help="The only network it may be used from: 10.2.0.0/16.")
@click.option(
    "--secret",
    "secret_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Keep KubeEdge's Secret `tokensecret` with the current token in this file (0600).",
)
@click.option("--stop", is_flag=True, help="Keep none for this pattern any more, and revoke the current one.")
@data_option
@json_option
def standing(
    data: Path, as_json: bool, pattern: str, refresh: str, network: str | None, secret_file: Path | None, stop: bool
) -> None:
    """Keep a token for a pattern current, as KubeEdge's cloud does, and print it.

    The server makes a new one every --refresh, and the one before it lives until its own end: one that was just read is good for
    between one and two intervals. `token show` prints the current one. To replace one that leaked: `token revoke`, then `token show`.

    \b
    Examples:
      edgeward token standing --pattern 'edge-*' --refresh 12h
      edgeward token standing --pattern 'edge-*' --secret tokensecret.yaml
      edgeward token standing --pattern 'edge-*' --stop
    """
    body = {
        "pattern": pattern,
        "refresh_seconds": None if stop else duration(refresh).total_seconds(),
        "network": network,
        "secret_file": None if secret_file is None else str(secret_file.absolute()),
    }
    done = Client(data).call("PUT", "/v1/tokens/standing", body)
    if as_json:
        print_json(done)
    else:
        click.echo(f"no token is kept for {pattern} any more" if stop else done["token"])


@command.command("show")
@click.option("--pattern", metavar="GLOB", help="Of which standing token; needed when there are several.")
@data_option
@json_option
def show(data: Path, as_json: bool, pattern: str | None) -> None:
    """Print the current standing token, alone, on standard output.

    \b
    Examples:
      edgeward token show
      edgeward token show --pattern 'edge-*' --json
    """
    found = [one for one in Client(data).call("GET", "/v1/tokens/standing") if pattern in (None, one["pattern"])]
    if as_json:
        print_json(found)
        return
    if not found:
        raise NotFound(what="standing token", name=pattern or "(make one: edgeward token standing --pattern GLOB)")
    if len(found) > 1:
        raise UsageError(problem=f"there are {len(found)} standing tokens; say of which pattern: --pattern GLOB")
    click.echo(found[0]["token"])
