"""T-17 and T-49: after everything that a deployment does, the secrets are nowhere but where they belong."""

import base64
import re
import signal
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.server import PASSPHRASE, Said, bearer, server, until
from tests.support.world import csr

PASSWORD = "a password for the exported key"


def spellings(number: bytes) -> list[bytes]:
    """A secret number as files might have it."""
    whole = base64.b64encode(number).rstrip(b"=")
    return [
        number,
        number.hex().encode(),
        number.hex().upper().encode(),
        whole,
        base64.urlsafe_b64encode(number).rstrip(b"="),
    ]


def pem_lines(key: ec.EllipticCurvePrivateKey) -> list[bytes]:
    """The base64 lines of a key's clear forms that hold its scalar."""
    found = []
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        found += [line for line in pem.splitlines() if not line.startswith(b"-")][:2]
    return found


def holders(where: list[Path], secrets: dict[str, list[bytes]]) -> list[str]:
    """Files that contain a secret, in any of its spellings."""
    found = []
    for top in where:
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if not path.is_file():
                continue
            octets = path.read_bytes()
            found += [f"{name} in {path}" for name, spelled in secrets.items() if any(one in octets for one in spelled)]
    return found


def command_lines() -> str:
    """The command line of every process of ours, as everybody may read it, and our own environment is not part of."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(one for one in found if "edgeward" in one)


def test_t17_t49_secrets_are_nowhere_after_a_life(tmp_path: Path) -> None:
    with server("--log-level", "debug", "--advertise", "127.0.0.1") as one:
        said: list[Said] = []
        tokens, lines = [], ""

        def run(*arguments: str | Path, **more: object) -> Said:
            said.append(one.home.run(*arguments, **more))  # type: ignore[arg-type]
            assert said[-1].status == 0, said[-1]
            return said[-1]

        def new_token(*arguments: str) -> str:
            made = one.run("token", "new", *arguments)
            assert made.status == 0 and made.err == ""
            tokens.append(made.out.strip())
            return tokens[-1]

        # a node of the command line, one of the wire, refusals of every kind with genuine secrets in them
        agent = tmp_path / "agent"
        run(
            "join", f"https://127.0.0.1:{one.https}", "--token", "-", "--node", "life-1", "--dir", agent,
            "--hub", f"127.0.0.1:{one.hub}", stdin=new_token("--node", "life-1").encode(),
        )  # fmt: skip
        process = one.home.start("agent", "--dir", agent, "--log-level", "debug", log=tmp_path / "agent.log")
        try:
            until(lambda: one.state("life-1") == "online", "the agent", 30)
            lines += command_lines()
            one.enrol("life-2", new_token("--node", "life-2"))
            wrong = new_token("--node", "life-3")
            for node in ("life-4", "life-3"):
                one.enrol(node, wrong, b"garbage")
            one.enrol("life-3", headers={"Authorization": f"Bearer  {bearer(wrong)}"})
            one.enrol("life-3", headers={"Authorization": bearer(wrong)})
            one.enrol("life-3", headers={"Authorization": f"Bearer {wrong}"})
            one.enrol("life-3", headers={"ExtKeyUsages": bearer(wrong)})
            one.enrol(bearer(wrong)[:50], wrong, csr("life-3"))
            one.request("GET", f"/edge.crt?token={bearer(wrong)}")
            revoked = new_token("--pattern", "life-*", "--uses", "3")
            run("token", "revoke", bearer(revoked)[:16], "--data", one.data)
            one.enrol("life-5", revoked)
            password = tmp_path / "password"
            password.write_text(PASSWORD)
            exported = run("ca", "export", "--with-key", "--password", f"@{password}", "--data", one.data)
            run("revoke", "life-1", "--reason", "keyCompromise", "--data", one.data)
            for listing in ("nodes", "token list", "audit list", "audit verify", "ca show", "ca export"):
                run(*listing.split(), "--data", one.data, *(() if listing == "ca export" else ("--json",)))
            said.append(one.home.run("token", "list", "--data", "/nonexistent"))
            one.restart()
            one.stop(signal.SIGTERM)
        finally:
            process.terminate()
            process.wait(20)

        key = serialization.load_pem_private_key(
            exported.octets[exported.octets.index(b"-----BEGIN ENC") :], PASSWORD.encode()
        )
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        scalar = key.private_numbers().private_value.to_bytes(32, "big")
        secrets = {f"token {n}": [token.rpartition(".")[2].encode()] for n, token in enumerate(tokens)} | {
            "CA key": [*spellings(scalar), *pem_lines(key)],
            "passphrase": [PASSPHRASE.encode()],
            "password": [PASSWORD.encode()],
        }
        password.unlink()
        outputs = tmp_path / "outputs"
        outputs.write_bytes(b"\n".join(each.octets + each.err_octets for each in said) + lines.encode())
        assert holders([one.directory, tmp_path], secrets) == []
        assert re.search(r"certificate\.revoked|node\.revoked", outputs.read_text()), "the outputs are there"
        assert "enrolment.refused" in outputs.read_text()


def test_secrets_are_found_where_they_are(tmp_path: Path) -> None:
    """The search itself works: it finds a key that lies about in the clear."""
    key = ec.generate_private_key(ec.SECP256R1())
    scalar = key.private_numbers().private_value.to_bytes(32, "big")
    (tmp_path / "a.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "b.der").write_bytes(b"xx" + scalar)
    (tmp_path / "c").write_text(scalar.hex())
    assert len(holders([tmp_path], {"key": [*spellings(scalar), *pem_lines(key)]})) == 3
