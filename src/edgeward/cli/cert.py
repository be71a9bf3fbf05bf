"""`edgeward cert`: certificates for requests that were made elsewhere, from the running authority or from an offline CA."""

import base64
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgeward import app_offline, files
from edgeward.cli import cert_more, offline, reading, signing, workers, writing
from edgeward.cli.bench import Source, occupied
from edgeward.cli.client import Client
from edgeward.cli.options import Group, data_option, json_option, print_json
from edgeward.cli.vendor import LIMIT, request_der
from edgeward.cli.vendor import request as vendor_request
from edgeward.errors import InputError, Refusal, UsageError, printable
from edgeward.pki import pem
from edgeward.pki.csr import Requested
from edgeward.services import vendor
from edgeward.services.offline import chain_below_root


class SomeRefused(Refusal):
    """A run in which not every request was signed."""

    sentence = "{refused} of {count} requests were refused"
    remedy = "mend them and run the same command again; it goes on where it stopped"


@click.group(cls=Group)
def command() -> None:
    """Sign certificate requests that were made elsewhere; make throw-away and cross certificates."""


@command.command("sign")
@click.argument("csrs", nargs=-1, required=True, metavar="CSR...", type=click.Path(allow_dash=True))
@offline.ca_dir(required=False)
@click.option("--node", metavar="NAME", help="The node that the certificate will be for.")
@click.option(
    "--profile", type=click.Choice(offline.PROFILES), help="With --ca-dir: what the certificate is for. [device]"
)
@click.option("--name", metavar="NAME", help="With --ca-dir: a server's or an operator's name.")
@click.option(
    "--san", "sans", multiple=True, metavar="NAME", help="With --ca-dir: dns:… ip:… uri:…, in place of the CSR's."
)
@click.option("--days", type=float, help="With --ca-dir: how long it is valid.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write the certificate to this file instead of standard output; for several CSRs, to this directory.",
)
@click.option("--chain", is_flag=True, help="With --ca-dir: write the intermediate CAs behind each certificate.")
@click.option("--dry-run", is_flag=True, help="With --ca-dir: show what would be signed, and sign nothing.")
@click.option("--again", is_flag=True, help="With --ca-dir: of several, sign anew what has a valid certificate, too.")
@click.option("--yes", is_flag=True, help="Do not ask before signing. Nobody is asked without a terminal.")
@click.option("--force", is_flag=True, help="With --ca-dir: overwrite what is there.")
@offline.options
@data_option
@json_option
def sign(data: Path, as_json: bool, csrs: tuple[str, ...], **options: Any) -> None:
    """Sign vendors' CSRs (PEM or DER; - for standard input). The private keys never leave the vendors.

    A certificate says what its profile says; what its CSR asks for beyond that is dropped and shown. Without --ca-dir the running
    authority signs one CSR for a node.

    With --ca-dir an offline CA signs. Whom a certificate is for says --node (device), --name and --san (server), --name (operator);
    without them it is for whom the CSR says: its common name, for a server its alternative names. Several CSRs, or directories of
    them (.csr .req .pem .der .p10), are signed in one go into the directory --out, with a report in report.json and report.txt.
    Run the same command again after a stop, and it goes on: what has its certificate keeps it.

    \b
    Examples:
      edgeward cert sign device.csr --node edge-7 --out device.crt
      openssl req -new -key device.key -subj /CN=anything | edgeward cert sign - --node edge-7
      edgeward cert sign web.csr --ca-dir ca --profile server --san dns:web.example --out web.crt
      edgeward cert sign from-vendor/ --ca-dir ca --profile device --out signed/
    """
    if options["ca_dir"] is not None:
        if options["profile"] is None:
            options["profile"] = "device"
        _check_names(csrs, options)
        if len(csrs) > 1 or Path(csrs[0]).is_dir():
            _many(csrs, as_json, options)
        else:
            offline.run(_single(csrs[0], as_json, options))
        return
    only = {name: value for name, value in options.items() if value and name not in {"node", "out", "yes"}}
    if only:
        raise UsageError(
            problem=f"--{next(iter(only)).replace('sans', 'san').replace('_', '-')} needs an offline CA: --ca-dir DIR"
        )
    if len(csrs) != 1 or options["node"] is None:
        raise UsageError(
            problem="the running authority signs one CSR for one --node NAME; for more at once name an offline CA: --ca-dir DIR"
        )
    _by_authority(data, as_json, csrs[0], options["node"], options["out"])


def _by_authority(data: Path, as_json: bool, request: str, node: str, out: Path | None) -> None:
    der = request_der(reading.octets(request, LIMIT))
    signed = Client(data).call("POST", "/v1/certificates", {"node": node, "csr": base64.b64encode(der).decode()})
    for dropped in signed["dropped"]:
        click.echo(f"dropped: the request asked for {dropped}", err=True)
    if out is not None:
        files.write_private(out, signed["pem"].encode())
    if as_json:
        print_json(signed)
    elif out is None:
        click.echo(signed["pem"], nl=False)
    else:
        click.echo(f"{out}: certificate {signed['serial']} for node {node}, valid until {signed['not_after']}")


def _check_names(csrs: tuple[str, ...], options: dict[str, Any]) -> None:
    if options["node"] is not None and options["name"] is not None:
        raise UsageError(problem="--node and --name at once")
    if options["node"] is not None and options["profile"] != "device":
        raise UsageError(problem=f"--node is for --profile device; say --name for a {options['profile']}")
    named = options["node"] is not None or options["name"] is not None or options["sans"]
    if named and (len(csrs) > 1 or Path(csrs[0]).is_dir()):
        raise UsageError(problem="--node, --name and --san are for one CSR; several say themselves whom they are for")


def _agreed(question: str, options: dict[str, Any]) -> None:
    if not options["yes"] and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(question, abort=True, err=True)


def _request(name: str) -> Requested:
    octets = reading.octets(name, LIMIT)
    try:
        return vendor_request(octets)
    except InputError as error:
        raise reading.In(name, error) from error


async def _single(request: str, as_json: bool, options: dict[str, Any]) -> None:
    """One request: any error is the command's own. It is signed even if its key has a certificate."""
    requested = _request(request)
    out = options["out"] if options["out"] is not None else Path("-")
    if out.is_dir():
        out /= "certificate.crt" if request == "-" else Path(request).with_suffix(".crt").name
    if str(out) != "-" and not options["force"] and occupied(str(out)):
        raise writing.WillNotOverwrite(name=out)
    now = app_offline.now()
    async with offline.opened(options["ca_dir"], options["passphrase_file"]) as found:
        profile = offline.lasting(found.profiles[options["profile"]], options["days"])
        identity = options["node"] if options["node"] is not None else options["name"]
        wanted = vendor.wanted(profile, requested, identity, offline.alternative_names(options["sans"]))
        plan = found.ca.preview(wanted, requested, now)
        for dropped in plan.dropped:
            click.echo(f"dropped: the request asks for {printable(dropped)}", err=True)
        ca = found.ca.signing.certificate.subject.rfc4514_string()
        if options["dry_run"]:
            click.echo(f"would sign {request}: {profile.name} {wanted.identity} by {ca}", err=True)
            return
        _agreed(f"Sign {request}: {profile.name} {wanted.identity} by {ca}?", options)
        issued = await found.ca.sign(wanted, requested, now)
        text = pem.encode("CERTIFICATE", issued.der)
        if options["chain"]:
            text += offline.chain_pem(chain_below_root(found.ca.chain))
        decision = found.ca.decided(wanted, plan)
    if str(out) != "-":
        writing.write(str(out), text, secret=False, force=options["force"])
    job = signing.Job(source=Source(request, str(out)), decision=decision)
    job.done("signed", issued.serial, plan.not_after)
    if as_json:
        print_json(job.row | {"pem": text.decode()})
    elif str(out) == "-":
        click.echo(text.decode(), nl=False)
    else:
        click.echo(f"{out}: certificate {job.serial} for {wanted.identity}, valid until {plan.not_after:%Y-%m-%d}")


def _many(csrs: tuple[str, ...], as_json: bool, options: dict[str, Any]) -> None:
    """Many requests: each stands for itself, and the run ends with 1 when one was refused."""
    out = options["out"]
    if out is None and not options["dry_run"]:
        raise UsageError(problem="say into which directory the certificates go: --out DIR")
    if out is not None and out.exists() and not out.is_dir():
        raise UsageError(problem=f"{out} is no directory, and there are several certificates to write")
    sources = signing.sources(csrs, out or Path("signed"))
    with workers.working(sources) as working:
        jobs, done = offline.run(_sign_many(sources, working, options))
    _tell(jobs, done, as_json, None if options["dry_run"] else out)


async def _sign_many(
    sources: list[Source], working: Sequence[workers.Worker], options: dict[str, Any]
) -> tuple[list[signing.Job], dict[str, Any]]:
    now = app_offline.now()
    async with offline.opened(options["ca_dir"], options["passphrase_file"]) as found:
        batch = signing.Batch(
            profile=offline.lasting(found.profiles[options["profile"]], options["days"]),
            sources=sources,
            again=options["again"],
            force=options["force"],
            chain=options["chain"],
            progress=signing.progress,
        )
        jobs = await signing.prepare(found.ca, batch, working, now)
        signing.show_dropped(jobs)
        waiting = [job for job in jobs if not job.status]
        if options["dry_run"]:
            for job in waiting:
                identity = job.decision.identity if job.decision is not None else ""
                click.echo(f"would sign {job.source.name}: {batch.profile.name} {identity}")
        else:
            ca = found.ca.signing.certificate.subject.rfc4514_string()
            _agreed(f"Sign {len(waiting)} requests ({batch.profile.name}) by {ca}?", options)
            await signing.sign(found.ca, batch, jobs, working, now)
        return jobs, signing.report(batch, found.ca, jobs)


def _tell(jobs: list[signing.Job], done: dict[str, Any], as_json: bool, out: Path | None) -> None:
    refused = [job for job in jobs if job.status == "refused"]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        writing.write(str(out / "report.json"), signing.report_json(done), secret=False, force=True)
        writing.write(str(out / "report.txt"), signing.report_text(done).encode(), secret=False, force=True)
        os.sync()
    for job in refused[:10]:
        click.echo(f"refused: {job.source.name}: {job.error}", err=True)
    if len(refused) > 10:
        click.echo(f"refused: … and {len(refused) - 10} more, in the report", err=True)
    if as_json:
        click.echo(signing.report_json(done).decode(), nl=False)
    elif out is not None:
        click.echo(
            f"{done['signed']} signed, {done['kept']} had their certificate before, {done['refused']} refused; "
            f"see {out / 'report.txt'}"
        )
    if refused:
        raise SomeRefused(refused=len(refused), count=len(jobs))


command.add_command(cert_more.self_signed)
command.add_command(cert_more.cross_sign)
