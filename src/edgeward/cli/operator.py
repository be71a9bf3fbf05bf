"""`edgeward operator`: people who administer the authority from elsewhere."""

import base64
import shlex
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeward import files
from edgeward.cli import reading
from edgeward.cli.client import Client
from edgeward.cli.options import Group, counted, data_option, json_option, print_json
from edgeward.cli.vendor import LIMIT, request_der
from edgeward.errors import UsageError
from edgeward.model.address import joined

PORT = 10010


@click.group(cls=Group)
def command() -> None:
    """Operators who administer the authority from elsewhere, over mutual TLS.

    The authority listens for them with `edgeward up --api-port 10010`. On their machine they set EDGEWARD_SERVER to
    https://HOST:10010 and EDGEWARD_OPERATOR to the directory that `operator new` made, and use the same commands.
    """


@command.command()
@click.argument("name")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where the three files go; made new."
)
@click.option(
    "--csr",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The operator's own request (DER or PEM).",
)
@data_option
@json_option
def new(data: Path, as_json: bool, name: str, out: Path, csr: Path | None) -> None:
    """Make an operator: DIR/operator.key (0600), DIR/operator.crt and DIR/ca.crt. Only on the machine of the authority.

    With --csr the key stays with the operator, and DIR gets the two certificates alone.

    \b
    Examples:
      edgeward operator new alice --out alice
      edgeward operator new bob --csr bob.csr --out bob
    """
    if out.exists() and any(out.iterdir()):
        raise UsageError(problem=f"{out} is there and not empty")
    key = None if csr is not None else ec.generate_private_key(ec.SECP256R1())
    request = _request(name, key) if key is not None else request_der(reading.octets(str(csr), LIMIT))
    client = Client(data)
    made = client.call("POST", "/v1/operators", {"name": name, "csr": base64.b64encode(request).decode()})
    files.make_private_directory(out)
    if key is not None:
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files.write_private(out / "operator.key", encoded)
    files.write_private(out / "operator.crt", made["pem"].encode())
    files.write_private(out / "ca.crt", made["ca_pem"].encode())
    if as_json:
        print_json({"name": name, "serial": made["serial"], "not_after": made["not_after"], "directory": str(out)})
        return
    click.echo(f"operator {name}: {out}/operator.crt, valid until {made['not_after'][:10]}")
    status = client.call("GET", "/v1/status")
    if status["api_port"] is None:
        click.echo(f"the authority does not listen for operators yet: edgeward up --api-port {PORT}", err=True)
    url = f"https://{joined(status['dial'], status['api_port'] or PORT)}"
    place = shlex.quote(str(out)) if out.is_absolute() else f"$PWD/{shlex.quote(str(out))}"
    click.echo(
        f"take {out} to where {name} works, then: export EDGEWARD_SERVER={url} EDGEWARD_OPERATOR={place}", err=True
    )


@command.command("list")
@data_option
@json_option
def list_(data: Path, as_json: bool) -> None:
    """List operators' certificates that have not reached their end.

    \b
    Example:
      edgeward operator list
    """
    operators = Client(data).call("GET", "/v1/operators")
    if as_json:
        print_json(operators)
        return
    for one in operators:
        certificate = one["certificate"]
        state = (
            f"revoked {certificate['revoked_at'][:10]}"
            if certificate["revoked_at"]
            else f"until {certificate['not_after'][:10]}"
        )
        click.echo(f"{one['name']:20} {certificate['serial']}  {state}")
    if not operators:
        click.echo("no operators; make one: edgeward operator new NAME --out DIR", err=True)


@command.command()
@click.argument("name")
@click.option("--tokens", is_flag=True, help="Also take back the join tokens that the operator made.")
@data_option
@json_option
def revoke(data: Path, as_json: bool, name: str, tokens: bool) -> None:
    """Revoke every certificate of an operator; live connections end at once.

    Join tokens that the operator made go on working, because a roll-out may be under way with them; they are named, and --tokens takes
    them back, now or later.

    \b
    Examples:
      edgeward operator revoke alice
      edgeward operator revoke alice --tokens
    """
    asked = {"target": f"operator:{name}", "reason": "privilegeWithdrawn", "tokens": tokens}
    done = Client(data).call("POST", "/v1/revocations", asked)
    if as_json:
        print_json(done)
        return
    for one in done["revoked"]:
        click.echo(f"revoked certificate {one['serial']} of operator {name}")
    for token in done["tokens"]:
        if token["state"] == "revoked":
            click.echo(f"revoked token {_shown(token)}")
    warn_of_tokens(name, done["tokens"])


def warn_of_tokens(name: str, tokens: list[dict[str, Any]]) -> None:
    """Name those of a revoked operator's join tokens that can still be used, and what takes them back."""
    left = [token for token in tokens if token["state"] == "valid"]
    if not left:
        return
    click.echo(f"warning: {counted(len(left), 'join token')} that {name} made can still be used", err=True)
    for token in left:
        click.echo(f"  {_shown(token)}", err=True)
    click.echo(f"hint: take them back: edgeward operator revoke {name} --tokens", err=True)


def _shown(token: dict[str, Any]) -> str:
    whom = token["node"] or f"pattern {token['pattern']}"
    return (
        f"{token['key_id']} for {whom}, used {token['used']} of {token['uses']} times, until {token['expires_at'][:10]}"
    )


def _request(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64] or "operator")])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
