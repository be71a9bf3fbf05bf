"""`edgeward kubeedge`: moving a fleet from KubeEdge's cloud, and back."""

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Any

import click

from edgeward import app, files
from edgeward.cli import kubeedge_sources as sources
from edgeward.cli.client import Client
from edgeward.cli.options import Group, data_option, json_option, print_json
from edgeward.cli.reading import moment
from edgeward.cli.reading import secret as password_of
from edgeward.errors import AlreadyExists, NotRunning, UsageError
from edgeward.pki.formats import kubernetes


@click.group(cls=Group)
def command() -> None:
    """Move a fleet from KubeEdge's cloud to this authority, and back.

    \b
    The steps are in docs/howto/kubeedge.md; in short:
      edgeward kubeedge import casecret.yaml cloudcoresecret.yaml --adopt-until 2027-01-31
      edgeward kubeedge status
    """


def bring(data: Path, body: dict[str, Any]) -> dict[str, Any]:
    """Import through the running server, or into the data directory when none is running."""
    try:
        done = Client(data).call("POST", "/v1/ca/import", body)
    except NotRunning:
        done = asyncio.run(app.offline_call(data, os.environ, "POST", "/v1/ca/import", body))
    found: dict[str, Any] = done
    return found


@command.command("import")
@click.argument("source", nargs=-1, type=click.Path())
@click.option("--password", metavar="@FILE|-", help="The password of an encrypted CA key.")
@click.option(
    "--adopt-until",
    metavar="DATE|off",
    help="Until then, nodes with KubeEdge's certificates are taken over when they first come.",
)
@click.option(
    "--accept-kubeedge-tokens", "pattern", metavar="GLOB", help="Also take KubeEdge's own tokens, for these new names."
)
@click.option("--until", metavar="DATE", help="… until this date.")
@click.option(
    "--allow-legacy-identity/--refuse-legacy-identity",
    default=None,
    help="Let edges before v1.16 in, which all have one identity: whoever has one of their certificates or a token can be any of them.",
)
@click.option("--no-advertise", is_flag=True, help="Do not advertise the names of cloudcore's server certificate.")
@click.option("--dry-run", is_flag=True, help="Change nothing: judge the certificates in the files and directories.")
@data_option
@json_option
def import_(
    data: Path, as_json: bool, source: tuple[str, ...], password: str | None, dry_run: bool, **terms: Any
) -> int:
    """Bring KubeEdge's CA along, so that nodes enrolled by cloudcore keep their certificates; before the first node has joined here.

    SOURCE is rootCA.crt and rootCA.key, or the Secrets casecret, cloudcoresecret and tokensecret as `kubectl get -o yaml` or `-o json`
    writes them, in any number of files; - is standard input. Without a SOURCE, the terms of an earlier import are changed.

    With --dry-run nothing is changed: SOURCE may also be certificates of edges, or directories full of them, and each is judged as it
    would be when its edge comes. The exit status is 1 when one would be refused.

    \b
    Examples:
      edgeward kubeedge import rootCA.crt rootCA.key --adopt-until 2027-01-31
      kubectl -n kubeedge get secret casecret cloudcoresecret -o yaml | edgeward kubeedge import - --adopt-until 2027-01-31
      edgeward kubeedge import casecret.yaml --dry-run collected-certificates/
      edgeward kubeedge import --adopt-until off
    """
    body = _terms(**terms)
    found = sources.read(source, password_of(password), directories=dry_run)
    if dry_run:
        return _dry_run(found, data, as_json, body.get("allow_legacy_identity", False))
    if source:
        ca = found.ca()
        body["certificate"] = base64.b64encode(ca.certificate).decode()
        body["key"] = base64.b64encode(ca.key).decode()
        body["advertise"] = [] if terms["no_advertise"] else list(found.server_names(ca.certificate))
    if not body:
        raise click.UsageError("nothing to do: give rootCA.crt and rootCA.key, casecret, or --adopt-until")
    done = bring(data, body)
    if as_json:
        print_json(done)
        return 0
    if source:
        _say_imported(done, body, found)
    _say_terms(done)
    return 0


def _terms(
    *,
    adopt_until: str | None,
    pattern: str | None,
    until: str | None,
    allow_legacy_identity: bool | None,
    no_advertise: bool,
) -> dict[str, Any]:
    """What the options ask for, as the API takes it."""
    del no_advertise
    if (pattern is None) != (until is None):
        raise click.UsageError("--accept-kubeedge-tokens and --until go together")
    body: dict[str, Any] = {}
    if adopt_until is not None:
        body["adopt_until"] = None if adopt_until == "off" else moment(adopt_until).isoformat()
    if allow_legacy_identity is not None:
        body["allow_legacy_identity"] = allow_legacy_identity
    if pattern is not None and until is not None:
        body["kubeedge_tokens"] = {"pattern": pattern, "until": moment(until).isoformat()}
    return body


def _say_imported(done: dict[str, Any], body: dict[str, Any], found: sources.Found) -> None:
    click.echo(f"the CA is imported; its pin is {done['pin']}")
    for deviation in done["deviations"]:
        click.echo(f"note: {deviation}")
    for name in body["advertise"]:
        click.echo(f"advertised, as cloudcore's server certificate has it: {name}")
    for note in found.notes(done["pin"], accepted="kubeedge_tokens" in body):
        click.echo(f"note: {note}")


def _say_terms(terms: dict[str, Any]) -> None:
    until, tokens = terms["adopt_until"], terms["kubeedge_tokens"]
    click.echo(f"certificates without a record: {'refused' if until is None else f'adopted until {until}'}")
    shown = "refused" if tokens is None else f"taken for new names like {tokens['pattern']} until {tokens['until']}"
    click.echo(f"KubeEdge's own tokens: {shown}")
    legacy = "let in under the name they claim" if terms["allow_legacy_identity"] else "refused"
    click.echo(f"edges before v1.16: {legacy}")


def _dry_run(found: sources.Found, data: Path, as_json: bool, legacy: bool) -> int:
    authority = found.authority()
    if authority is None:
        authority = base64.b64decode(Client(data).call("POST", "/v1/ca/export", {})["certificate"])
    judged = found.judge(authority, legacy=legacy)
    if as_json:
        print_json({"pin": sources.pin(authority), "deviations": found.deviations(authority), "certificates": judged})
    else:
        click.echo(f"CA {sources.pin(authority)}")
        for deviation in found.deviations(authority):
            click.echo(f"note: {deviation}")
        for line in sources.table(judged):
            click.echo(line)
    return 1 if any(one["verdict"] != "adopted" for one in judged) else 0


@command.command("status")
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """Show how far the move is: the terms, and the nodes that still have a certificate of KubeEdge's.

    \b
    Example:
      edgeward kubeedge status
    """
    found = Client(data).call("GET", "/v1/kubeedge")
    if as_json:
        print_json(found)
        return
    click.echo(f"CA {found['pin']} ({found['origin']})")
    _say_terms(found)
    click.echo(f"nodes with a certificate of this authority: {found['others']}")
    click.echo(f"nodes that were adopted and have not renewed yet: {len(found['adopted'])}")
    for node in found["adopted"]:
        click.echo(f"  {node['name']}  {node['state']}  until {node['not_after']}")


@command.command("export")
@click.option(
    "--with-ca-key", is_flag=True, help="The CA's private key too, in the clear, as cloudcore needs it. Audited."
)
@click.option("--out", type=click.Path(path_type=Path), help="A new file (0600) instead of standard output.")
@click.option("--namespace", default="kubeedge", show_default=True, help="The Secrets' namespace.")
@data_option
@json_option
def export(data: Path, as_json: bool, with_ca_key: bool, out: Path | None, namespace: str) -> None:
    """Write the Secrets that a cloudcore loads: casecret, cloudcoresecret (a server certificate of its own) and tokensecret.

    Nodes that are enrolled here have certificates of the same CA, and connect to that cloudcore with them. The private keys in the
    Secrets are in the clear: that is how KubeEdge keeps them. Without --with-ca-key cloudcore can neither enrol nor renew.

    \b
    Examples:
      edgeward kubeedge export --with-ca-key | kubectl apply -f -
      edgeward kubeedge export --with-ca-key --out secrets.yaml
    """
    if out is not None and os.path.lexists(out):  # before the key is on its way, and on record
        raise AlreadyExists(what="file", name=out)
    if not kubernetes.is_namespace(namespace):
        raise UsageError(problem=f"{namespace!r} is not a Kubernetes namespace")
    exported = Client(data).call("POST", "/v1/kubeedge/export", {"with_ca_key": with_ca_key})
    manifests = [
        kubernetes.secret(name, {key: base64.b64decode(value) for key, value in fields.items()}, namespace)
        for name, fields in exported["secrets"].items()
    ]
    for note in exported["notes"]:
        click.echo(f"note: {note}", err=True)
    text = "---\n".join(manifests)
    if out is not None:
        files.create_private(out, text.encode())
    elif as_json:
        print_json(exported)
    else:
        sys.stdout.write(text)
