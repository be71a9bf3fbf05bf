"""What people type: one module per noun or verb, loaded only when it is used.

`COMMANDS` is the one table from a command to its module; every such module defines a click command or group named `command`.
"""

import errno
import importlib
import os
import sys
import warnings
from typing import Any

import click

import edgeward
from edgeward.errors import EdgewardError, Unavailable, UsageError, printable

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("up", "Run the authority: enrolment, hub and administration."),
    "demo": ("demo", "Start everything in a temporary directory, join three nodes, revoke one, clean up."),
    "token": ("token", "Make, list and revoke join tokens."),
    "nodes": ("nodes", "Show the nodes and whether they are online."),
    "revoke": ("revoke", "Revoke a node or a certificate; a live session is cut at once."),
    "send": ("send", "Queue a message for a node, and wait for its answer if asked."),
    "message": ("message", "What became of messages: show, list, queues, cancel."),
    "watch": ("watch", "Print the messages that nodes send, one JSON object a line."),
    "ca": ("ca", "Show, import and export the CA; make offline CAs."),
    "kubeedge": ("kubeedge", "Move a fleet from KubeEdge's cloud, and back."),
    "cert": ("cert", "Sign certificate requests, one or thousands; self-signed and cross certificates."),
    "kit": ("kit", "Lay out what a device or a platform needs for mutual TLS."),
    "operator": ("operator", "Let operators in who are not on this machine; list and revoke them."),
    "advertise": ("advertise", "The names and addresses that clients dial."),
    "audit": ("audit", "Read the audit log and verify its chain."),
    "inspect": ("inspect", "Say in words what a file, a directory or a live server holds."),
    "why": ("why", "Tell why a node or an address fails: what the server saw of it."),
    "doctor": ("doctor", "Say why a handshake, a join or a connection fails, and what to type."),
    "verify": ("verify", "Verify a certificate, its chain, its names and its revocation."),
    "key": ("key", "Make, inspect, convert and match private keys."),
    "csr": ("csr", "Make, inspect and verify certificate requests."),
    "convert": ("convert", "Convert between PEM, DER, PKCS#7, PKCS#12 and JKS."),
    "bundle": ("bundle", "Build a chain in order out of a heap of files."),
    "split": ("split", "Write each item of a file into a file of its own."),
    "fingerprint": ("fingerprint", "Print fingerprints."),
    "diff": ("diff", "Compare two certificates or requests field by field."),
    "lint": ("lint", "Judge certificates by the rules of private PKI, devices, mutual TLS and RFC 5280."),
    "trust": ("trust", "Install a CA into the stores of this machine: the system, browsers, Java."),
    "join": ("join", "Enrol this machine as a node."),
    "agent": ("agent", "Keep this node connected to its hub."),
    "completion": ("completion", "Print the shell completion script."),
}


class _Commands(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"edgeward.cli.{COMMANDS[cmd_name][0]}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(edgeward.__version__, prog_name="edgeward", message="%(prog)s %(version)s")
def command() -> None:
    """Edgeward: the certificate authority and the secure front door of an edge fleet.

    \b
    First steps:
      edgeward up --advertise cloud.example.com
      edgeward token new --node edge-1 > token
      edgeward join https://cloud.example.com:10002 --token @token --node edge-1
      edgeward agent

    \b
    A CA of your own, without a server:
      edgeward ca new --ca-dir root --name 'Example Root CA'
      edgeward ca new --ca-dir issuing --name 'Example Issuing CA' --intermediate-of root
      edgeward kit device --ca-dir issuing --node edge-1 --out edge-1
      edgeward cert sign web.csr --ca-dir issuing --profile server --chain --out web.crt
      edgeward verify web.crt --ca root/ca.crt --name web.example.com

    \b
    What is this, and why does it fail:
      edgeward inspect FILE|HOST:PORT
      edgeward doctor HOST:PORT
    """


def run(arguments: list[str] | None = None) -> int:
    """The exit status of a command line, with its error, if any, said on standard error: 0 good, 1 findings, 2 usage, 65 input is not
    what it claims, 69 unavailable, 70 our bug. The program itself is `edgeward.__main__`."""
    # The library warns of serial numbers and lengths that it will refuse one day; `inspect` says so in its own words.
    warnings.simplefilter("ignore")
    try:
        result: Any = command.main(args=arguments, prog_name="edgeward", standalone_mode=False)
        sys.stdout.flush()  # so that a full disk behind it is an answer, and no complaint of the interpreter's at its end
        return result if isinstance(result, int) else 0
    except EdgewardError as error:
        say_error(str(error), error.hint)
        return error.exit_status
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.exceptions.NoSuchCommand as error:
        say_error(f"there is no command {_typed(error)}", _meant(error))
        return UsageError.exit_status
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        message = error.format_message().strip().rstrip(".")
        hint = f"{context.command_path} --help" if context is not None else "edgeward --help"
        say_error(message[:1].lower() + message[1:], hint)
        return UsageError.exit_status
    except (click.Abort, KeyboardInterrupt):
        click.echo("", err=True)
        return 130
    except Exception as error:  # the outermost shell: whatever it is, no traceback reaches the person unasked
        return _last(error)


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def _last(error: Exception) -> int:
    """The exit status of what is no `EdgewardError`: a reader that went away, a disk that is full, or a bug of ours."""
    if isinstance(error, BrokenPipeError):
        _drop_output()
        return 0
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        _drop_output()
        say_error(
            f"cannot write {error.filename or 'the output'}: {os.strerror(error.errno).lower()}",
            "make room there: df -h",
        )
        return Unavailable.exit_status
    if os.environ.get("EDGEWARD_DEBUG"):
        importlib.import_module("traceback").print_exc()
    say_error(
        f"internal error: {type(error).__name__}: {error}",
        "this is a bug in edgeward; run it again with EDGEWARD_DEBUG=1 to see where",
    )
    return 70


def _drop_output() -> None:
    """What is still to be written on standard output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


MEANT = {
    "x509": "edgeward inspect FILE",
    "show": "edgeward inspect FILE",
    "view": "edgeward inspect FILE",
    "print": "edgeward inspect FILE",
    "asn1parse": "edgeward inspect --asn1 FILE",
    "genrsa": "edgeward key new OUT --type rsa:3072",
    "genpkey": "edgeward key new OUT",
    "ecparam": "edgeward key new OUT --type ec:P-256",
    "req": "edgeward csr new OUT",
    "sign": "edgeward cert sign CSR",
    "ca sign": "edgeward cert sign CSR --ca-dir DIR",
    "csr sign": "edgeward cert sign CSR",
    "cert new": "edgeward csr new OUT, then edgeward cert sign; or both in one: edgeward kit device",
    "kit server": "edgeward csr new, then edgeward cert sign --profile server; for a whole platform: edgeward kit backend",
    "kit client": "edgeward kit device",
    "kit new": "edgeward kit device, or edgeward kit backend",
    "cert revoke": "edgeward revoke NODE; for an offline CA: edgeward ca revoke FILE --ca-dir DIR",
    "cert verify": "edgeward verify FILE",
    "cert inspect": "edgeward inspect FILE",
    "ca list": "edgeward audit list --ca-dir DIR",
    "crl": "edgeward ca crl --ca-dir DIR",
    "ca init": "edgeward ca new --ca-dir DIR --name NAME",
    "ca create": "edgeward ca new --ca-dir DIR --name NAME",
    "pkcs12": "edgeward convert KEY CERTIFICATE OUT.p12",
    "pkcs7": "edgeward convert CERTIFICATE OUT.p7b",
    "pkcs8": "edgeward key convert IN OUT",
    "keytool": "edgeward convert KEY CERTIFICATE OUT.jks",
    "s_client": "edgeward inspect HOST:PORT",
    "connect": "edgeward inspect HOST:PORT",
    "chain": "edgeward bundle FILE... OUT",
    "match": "edgeward key match FILE...",
}
"""What people type who know another tool, and the command that does it here."""


def _typed(error: click.exceptions.NoSuchCommand) -> str:
    """The words of the command that does not exist, without `edgeward`."""
    path = error.ctx.command_path.partition(" ")[2] if error.ctx is not None else ""
    return printable(f"{path} {error.command_name}".strip(), 60)


def _meant(error: click.exceptions.NoSuchCommand) -> str:
    """The command to type in place of one that does not exist."""
    words = _typed(error)
    group, _, last = words.rpartition(" ")
    likely = error.possibilities or (
        [] if group else importlib.import_module("difflib").get_close_matches(last, COMMANDS)
    )
    near = [" ".join(filter(None, ("edgeward", group, one, "--help"))) for one in likely]
    return MEANT.get(words) or next(iter(near), "") or MEANT.get(last) or f"edgeward {group} --help".replace("  ", " ")


def say_error(sentence: str, hint: str = "") -> None:
    """An error and what to do about it, on standard error."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {sentence}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True)
