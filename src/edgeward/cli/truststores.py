"""The places where programs of this machine look for CAs: the system's, NSS databases (Firefox, Chrome) and Java's. As mkcert has them.

Each store says which steps install or remove a certificate; `perform` takes them, or the caller prints them (`--dry-run`). A step is a
file to write, a file to remove or a command to run, so that what is printed is what is done. Certificates are known by their hash: the
names we give them in the stores end in its first 16 digits, which makes installing twice and removing twice harmless.
"""

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from edgeward import files
from edgeward.errors import CannotWrite, Unavailable, UsageError
from edgeward.pki.formats import pem

PREFIX = "edgeward"

SECONDS = 60
"""For one foreign program: update-ca-certificates with Java's hook takes ten."""


class StepFailed(Unavailable):
    """A program that changes a trust store, or a file in it, that did not do as it should."""

    sentence = "{command}: {why}"
    remedy = "see what would be done, and do it yourself: edgeward trust install --dry-run CERT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do: write `content` to `path`, remove `path` (no content), or run `command`."""

    path: Path | None = None
    content: bytes | None = None
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    stdin: bytes = b""

    def words(self, certificate: str) -> str:
        """The step as a line for the shell; `certificate` is the file that the person named."""
        if self.path is not None:
            place = shlex.quote(str(self.path))
            return f"rm -f {place}" if self.content is None else f"install -m 644 {shlex.quote(certificate)} {place}"
        # The password of a Java store is not printed; without the variable keytool asks for it.
        line = shlex.join(word for word in self.command if word not in {"-storepass:env", "EDGEWARD_STOREPASS"})
        return f"{line} < {shlex.quote(certificate)}" if self.stdin else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One place. `label` is how we name a certificate in it."""

    kind: str
    place: str
    needs_root: bool = False

    def label(self, der: bytes) -> str:
        """The name of a certificate in the store: the same for the same certificate."""
        return f"{PREFIX}-{hashlib.sha256(der).hexdigest()[:16]}"

    def has(self, der: bytes) -> bool:
        """Whether the certificate is in it under our name."""
        return self.label(der) in self.installed()

    def installed(self) -> list[str]:
        """The names of ours in it."""
        raise NotImplementedError

    def install(self, der: bytes) -> list[Step]:
        """The steps that put it in."""
        raise NotImplementedError

    def remove(self, der: bytes) -> list[Step]:
        """The steps that take it out."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder(Store):
    """A directory of anchors and the command that gathers them: Debian's, Fedora's, Arch's, SUSE's."""

    folder: Path
    suffix: str
    refresh: tuple[str, ...]

    def installed(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob(f"{PREFIX}-*{self.suffix}"))

    def _file(self, der: bytes) -> Path:
        return self.folder / f"{self.label(der)}{self.suffix}"

    def install(self, der: bytes) -> list[Step]:
        return [Step(path=self._file(der), content=pem.write("CERTIFICATE", der)), Step(command=self.refresh)]

    def remove(self, der: bytes) -> list[Step]:
        return [Step(path=self._file(der)), Step(command=self.refresh)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keychain(Store):
    """macOS's system keychain. What is listed is everything in it: a keychain has no place for a name of ours."""

    keychain: str = "/Library/Keychains/System.keychain"

    def installed(self) -> list[str]:
        listed = _output(("security", "find-certificate", "-a", "-Z", self.keychain))
        return sorted(
            {f"{PREFIX}-{digest[:16].lower()}" for digest in re.findall(r"SHA-256 hash: ([0-9A-F]{64})", listed)}
        )

    def install(self, der: bytes) -> list[Step]:
        file = self._file(der)
        command = ("security", "add-trusted-cert", "-d", "-r", "trustRoot", "-k", self.keychain, str(file))
        return [Step(path=file, content=pem.write("CERTIFICATE", der)), Step(command=command), Step(path=file)]

    def remove(self, der: bytes) -> list[Step]:
        file, digest = self._file(der), hashlib.sha256(der).hexdigest().upper()
        return [
            Step(path=file, content=pem.write("CERTIFICATE", der)),
            Step(command=("security", "remove-trusted-cert", "-d", str(file))),
            Step(command=("security", "delete-certificate", "-Z", digest, self.keychain)),
            Step(path=file),
        ]

    def _file(self, der: bytes) -> Path:
        """`security` reads files alone; a user's temporary directory is its own on macOS."""
        return Path(tempfile.gettempdir(), f"{self.label(der)}.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nss(Store):
    """An NSS database."""

    directory: Path

    @property
    def _database(self) -> tuple[str, str]:
        return ("-d", f"sql:{self.directory}")

    def installed(self) -> list[str]:
        return sorted(re.findall(rf"^({PREFIX}-[0-9a-f]{{16}})\s", _output(("certutil", "-L", *self._database)), re.M))

    def install(self, der: bytes) -> list[Step]:
        command = ("certutil", "-A", *self._database, "-t", "C,,", "-n", self.label(der), "-a")
        return [Step(command=command, stdin=pem.write("CERTIFICATE", der))]

    def remove(self, der: bytes) -> list[Step]:
        return [Step(command=("certutil", "-D", *self._database, "-n", self.label(der)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Java(Store):
    """A Java trust store. Its password protects nothing and is `changeit` everywhere; another one comes in the environment, not in argv."""

    keystore: Path
    password: str = field(default="changeit", repr=False)

    def _command(self, *action: str) -> Step:
        words = ("keytool", *action, "-keystore", str(self.keystore), "-storepass:env", "EDGEWARD_STOREPASS")
        return Step(command=words, environment=(("EDGEWARD_STOREPASS", self.password), ("LC_ALL", "C")))

    def _aliases(self) -> list[str]:
        """Ours, and those that Debian's hook made of the system's store, which it never takes out again."""
        step = self._command("-list")
        listed = _output(step.command, dict(step.environment))
        return sorted(re.findall(rf"^((?:debian:)?{PREFIX}-[0-9a-f]{{16}}(?:\.pem)?),", listed, re.M))

    def installed(self) -> list[str]:
        return sorted({alias.removeprefix("debian:").removesuffix(".pem") for alias in self._aliases()})

    def install(self, der: bytes) -> list[Step]:
        step = self._command("-importcert", "-noprompt", "-alias", self.label(der))
        return [Step(command=step.command, environment=step.environment, stdin=pem.write("CERTIFICATE", der))]

    def remove(self, der: bytes) -> list[Step]:
        return [self._command("-delete", "-alias", alias) for alias in self._aliases() if self.label(der) in alias]


# ------------------------------------------------------------------------------------------------------------------- finding


_DEBIAN = "usr/local/share/ca-certificates"

_SYSTEMS = (
    ("etc/pki/ca-trust/source/anchors", ".pem", ("update-ca-trust", "extract")),
    (_DEBIAN, ".crt", ("update-ca-certificates",)),
    ("etc/ca-certificates/trust-source/anchors", ".crt", ("trust", "extract-compat")),
    ("usr/share/pki/trust/anchors", ".pem", ("update-ca-certificates",)),
)
"""Fedora and Red Hat, Debian and Ubuntu, Arch, SUSE."""

KINDS = ("system", "nss", "java")


def found(root: Path, nss: tuple[Path, ...], java: tuple[Path, ...], password: str) -> dict[str, list[Store]]:
    """The stores of this machine by kind. `root` stands for `/`; `nss` and `java` name databases in place of the usual ones."""
    return {"system": _system(root), "nss": _nss(nss), "java": _java(java, password)}


def _system(root: Path) -> list[Store]:
    if platform.system() == "Darwin" and root == Path("/"):
        return [Keychain(kind="system", place="the system keychain", needs_root=True)]
    for folder, suffix, refresh in _SYSTEMS:
        place = root / folder
        if place.is_dir():
            return [
                Folder(
                    kind="system",
                    place=str(place),
                    needs_root=not os.access(place, os.W_OK),
                    folder=place,
                    suffix=suffix,
                    refresh=refresh if root == Path("/") else _elsewhere(root, folder, refresh),
                )
            ]
    return []


def _elsewhere(root: Path, folder: str, refresh: tuple[str, ...]) -> tuple[str, ...]:
    """The command that gathers the anchors below another root: Debian's takes directories, the others are run inside."""
    if folder != _DEBIAN:
        return ("chroot", str(root), *refresh)
    return (
        *refresh,
        *("--certsconf", f"{root}/etc/ca-certificates.conf"),
        *("--certsdir", f"{root}/usr/share/ca-certificates"),
        *("--localcertsdir", f"{root}/{folder}"),
        *("--etccertsdir", f"{root}/etc/ssl/certs"),
        *("--hooksdir", f"{root}/etc/ca-certificates/update.d"),
    )


def _nss(named: tuple[Path, ...]) -> list[Store]:
    for directory in named:
        if not (directory / "cert9.db").is_file():
            raise UsageError(problem=f"{directory} is no NSS database: it has no cert9.db")
    if shutil.which("certutil") is None:
        return []
    home = Path.home()
    usual = [
        home / ".pki" / "nssdb",
        home / "snap" / "chromium" / "current" / ".pki" / "nssdb",
        *sorted((home / ".mozilla" / "firefox").glob("*")),
        *sorted((home / "snap" / "firefox" / "common" / ".mozilla" / "firefox").glob("*")),
        *sorted((home / "Library" / "Application Support" / "Firefox" / "Profiles").glob("*")),
    ]
    places = named or tuple(directory for directory in usual if (directory / "cert9.db").is_file())
    return [Nss(kind="nss", place=str(directory), directory=directory) for directory in places]


def _java(named: tuple[Path, ...], password: str) -> list[Store]:
    if shutil.which("keytool") is None:
        return []
    places = list(named)
    home = os.environ.get("JAVA_HOME")
    if not places and home:
        places = [Path(home, inside) for inside in ("lib/security/cacerts", "jre/lib/security/cacerts")]
    elif not places:
        program = Path(shutil.which("keytool") or "").resolve()
        places = [program.parents[1] / "lib" / "security" / "cacerts"]
    existing = [place for place in places if place.is_file() or place in named]
    return [
        Java(kind="java", place=str(place), needs_root=not os.access(place, os.W_OK), keystore=place, password=password)
        for place in existing
    ]


# ------------------------------------------------------------------------------------------------------------------ performing


def perform(step: Step) -> None:
    """Take one step. Raises `StepFailed`."""
    if step.path is not None:
        _change(step.path, step.content)
        return
    _run(step.command, dict(step.environment), step.stdin)


def _change(path: Path, content: bytes | None) -> None:
    try:
        if content is None:
            path.unlink(missing_ok=True)
        else:
            files.write_output(path, content, mode=0o644)
    except CannotWrite as error:
        raise StepFailed(command=path, why=error.facts["why"].lower()) from error
    except OSError as error:
        raise StepFailed(command=path, why=(error.strerror or str(error)).lower()) from error


def _run(command: tuple[str, ...], environment: dict[str, str], stdin: bytes = b"") -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs, and no shell
            command, input=stdin, capture_output=True, check=False, timeout=SECONDS, env={**os.environ, **environment}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StepFailed(command=command[0], why=getattr(error, "strerror", None) or str(error)) from error
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
        why = next((line for line in said if not line.startswith("Warning")), f"exit status {done.returncode}")
        raise StepFailed(command=command[0], why=why)
    return done.stdout.decode(errors="replace")


def _output(command: tuple[str, ...], environment: dict[str, str] | None = None) -> str:
    return _run(command, environment or {})
