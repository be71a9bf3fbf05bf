"""The authority: its CA made or brought along, and the server certificate that follows the advertised names."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.support.rows import admission, new_record
from tests.support.world import NOON, World, new_key, run, world

from edgeward.errors import AlreadyExists, BadName, EdgewardError, NotConforming, SerialCollision, Unreadable
from edgeward.keys.file import FileKeys
from edgeward.keys.memory import MemoryKeys
from edgeward.model.authority import IssuerState, Origin, Reason
from edgeward.model.token import Secret
from edgeward.pki.profile import default_profiles
from edgeward.services.authorities import Authorities, ServerCredential, judge_ca
from edgeward.services.issuance import Issuance, SigningIssuer
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store

VECTORS_MADE = datetime(2026, 11, 23, 13, 30, tzinfo=UTC)
LOCAL = ("localhost", "127.0.0.1")


def authorities_of(store: RelationalStore, keys: MemoryKeys) -> Authorities:
    profiles = default_profiles()
    return Authorities(store, keys, Issuance(store, profiles, "edgeward.internal"), profiles)


async def actions(w: World) -> list[str]:
    return [record.action for record in await w.store.audit(0, 100_000)]


# ------------------------------------------------------------------------------------------------------------ first start


def test_the_first_start_makes_a_ca_and_every_later_one_keeps_it() -> None:
    async def story() -> None:
        store, keys = open_store(":memory:"), MemoryKeys()
        first = await authorities_of(store, keys).open("Edgeward CA one", NOON)
        later = authorities_of(store, keys)
        assert await later.open("Edgeward CA two", NOON + timedelta(days=30)) == first
        assert (first.state, first.origin) == (IssuerState.ACTIVE, Origin.CREATED)
        assert later.trusted == (first.certificate,)
        certificate = x509.load_der_x509_certificate(first.certificate)
        assert certificate.subject.rfc4514_string() == "CN=Edgeward CA one"
        assert certificate.not_valid_after_utc == NOON + timedelta(days=3652)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
        assert judge_ca(first.certificate, keys.signer(first.key), NOON) == ()
        record = await store.by_serial(format(certificate.serial_number, "x"))
        assert record is not None
        assert (record.issuer_id, record.der, record.profile) == (first.id, first.certificate, "ca")
        assert [r.action for r in await store.audit()] == ["ca.created", "trust.changed"]
        await store.close()

    run(story())


def test_t24_two_that_start_on_an_empty_store_at_once_end_with_one_ca() -> None:
    async def story() -> None:
        store, keys = open_store(":memory:"), MemoryKeys()
        both = [authorities_of(store, keys) for _ in range(5)]
        issuers = await asyncio.gather(*(one.open(f"CA {n}", NOON) for n, one in enumerate(both)))
        assert len({issuer.pin for issuer in issuers}) == 1
        assert len(await store.issuers()) == 1
        assert len({one.active.pin for one in both}) == 1
        await store.close()

    run(story())


def test_what_a_crash_left_planned_is_abandoned_at_the_next_start() -> None:
    async def story() -> None:
        async with world() as w:
            token, made = await w.token("edge-1")
            await w.enrol("edge-2")
            left = new_record("edge-1", w.authorities.active.id, token=made.key_id)
            await w.store.plan(left, admission(NOON))
            assert await authorities_of(w.store, w.keys).open("x", NOON) == w.authorities.active
            assert await w.store.planned() == []
            record = await w.store.by_serial(left.serial)
            assert record is not None
            assert record.revoked_at == NOON
            assert (await actions(w))[-1] == "certificate.abandoned"
            assert await w.enrol("edge-1", token)

    run(story())


def test_a_key_of_another_ca_is_never_signed_with() -> None:
    async def story() -> None:
        async with world() as w:
            with pytest.raises(NotConforming):
                SigningIssuer.of(w.authorities.active, new_key())

    run(story())


# ----------------------------------------------------------------------------------------------------------- brought along


def test_kubeedge_s_ca_is_brought_along_with_its_deviations_named(kubeedge: dict[str, Any]) -> None:
    async def story() -> None:
        async with world() as w:
            w.now = VECTORS_MADE
            before = w.authorities.active
            key: Any = serialization.load_der_private_key(kubeedge["ca"]["private_key_sec1_der"], None)
            issuer, deviations = await w.authorities.adopt(
                kubeedge["ca"]["certificate_der"], key, actor="operator:test", now=w.now
            )
            assert issuer.pin == kubeedge["token"].partition(".")[0]
            assert list(deviations) == [
                "it may not sign CRLs (no cRLSign)",
                "it sets no limit on CAs below it (no pathLen)",
                "it has extended key usages",
                "it lives longer than 25 years",
            ]
            assert w.authorities.active == issuer
            assert w.authorities.trusted == (before.certificate, issuer.certificate)
            assert [(i.state, i.origin) for i in await w.store.issuers()] == [
                (IssuerState.RETIRED, Origin.CREATED),
                (IssuerState.ACTIVE, Origin.IMPORTED),
            ]
            der = await w.enrol("edge-1")
            x509.load_der_x509_certificate(der).verify_directly_issued_by(
                x509.load_der_x509_certificate(issuer.certificate)
            )
            again = authorities_of(w.store, w.keys)
            assert await again.open("x", w.now) == issuer
            assert again.trusted == w.authorities.trusted

    run(story())


def test_once_a_node_has_a_certificate_the_ca_stays(kubeedge: dict[str, Any]) -> None:
    async def story() -> None:
        async with world() as w:
            w.now = VECTORS_MADE
            before = w.authorities.active
            await w.enrol("edge-1")
            key: Any = serialization.load_der_private_key(kubeedge["ca"]["private_key_sec1_der"], None)
            with pytest.raises(AlreadyExists):
                await w.authorities.adopt(kubeedge["ca"]["certificate_der"], key, actor="operator:test", now=w.now)
            assert w.authorities.active == before
            assert await w.store.issuers() == [before]

    run(story())


def _ca(
    key: Any,
    *,
    days: int = 365,
    extensions: list[tuple[x509.ExtensionType, bool]] | None = None,
    start: datetime = NOON,
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Some CA")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=days))
    for value, critical in (
        [(x509.BasicConstraints(ca=True, path_length=0), True)] if extensions is None else extensions
    ):
        builder = builder.add_extension(value, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


_USAGE = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
_KEY = new_key()

UNFIT: dict[str, tuple[bytes, Any, str]] = {
    "another key": (_ca(_KEY), new_key(), "does not belong"),
    "no CA": (_ca(_KEY, extensions=[(x509.BasicConstraints(ca=False, path_length=None), True)]), _KEY, "CA:TRUE"),
    "no constraints": (_ca(_KEY, extensions=[]), _KEY, "CA:TRUE"),
    "may not sign": (
        _ca(_KEY, extensions=[(x509.BasicConstraints(ca=True, path_length=None), True), (_USAGE, True)]),
        _KEY,
        "keyUsage",
    ),
    "expired": (_ca(_KEY, start=NOON - timedelta(days=400)), _KEY, "valid from"),
    "not yet valid": (_ca(_KEY, start=NOON + timedelta(days=1)), _KEY, "valid from"),
    "garbage": (b"garbage", _KEY, "certificate"),
    "empty": (b"", _KEY, "empty"),
}


@pytest.mark.parametrize("why", UNFIT)
def test_what_cannot_serve_as_a_ca_is_refused_and_nothing_changes(why: str) -> None:
    certificate, key, word = UNFIT[why]

    async def story() -> None:
        async with world() as w:
            before = await w.store.audit()
            with pytest.raises(Unreadable, match=word):
                await w.authorities.adopt(certificate, key, actor="operator:test", now=NOON)
            assert await w.store.audit() == before
            assert len(w.keys._keys) == 1

    run(story())


def test_t10_a_weak_ca_is_refused() -> None:
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(EdgewardError, match="2048"):
        judge_ca(_ca(weak), weak, NOON)


def test_an_openssl_ca_without_key_usage_is_taken_and_said_so() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    assert "it has no keyUsage" in judge_ca(_ca(key), key, NOON)


def test_the_key_is_given_out_only_on_record() -> None:
    async def story() -> None:
        async with world() as w:
            exported: Any = serialization.load_der_private_key(
                await w.authorities.export_key(actor="operator:test", now=NOON), None
            )
            certificate = x509.load_der_x509_certificate(w.authorities.active.certificate)
            assert exported.public_key() == certificate.public_key()
            assert (await actions(w))[-1] == "ca.key-exported"

    run(story())


# ------------------------------------------------------------------------------------------------- the server certificate


async def credential(w: World, *local: str) -> ServerCredential:
    return await w.authorities.server_credential(local or LOCAL, w.now)


def test_the_server_certificate_is_for_the_advertised_and_the_local_names() -> None:
    async def story() -> None:
        async with world() as w:
            names = await w.authorities.advertise(
                ["Cloud.Example", "[FD00::1]", "10.0.0.1", "cloud.example"], actor="a", now=NOON
            )
            assert names == ("cloud.example", "fd00::1", "10.0.0.1")
            assert await w.authorities.advertised() == names
            served = await credential(w)
            assert served.names == (*names, *LOCAL)
            certificate = x509.load_der_x509_certificate(served.certificate)
            san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert [str(n.value) for n in san] == [*names, *LOCAL]
            assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
                ExtendedKeyUsageOID.SERVER_AUTH
            ]
            assert certificate.subject.rfc4514_string() == "CN=cloud.example,O=Edgeward"
            assert certificate.public_key() == served.key.public_key()
            certificate.verify_directly_issued_by(x509.load_der_x509_certificate(w.authorities.active.certificate))

    run(story())


def test_a_long_name_is_not_cut_to_fit_the_common_name() -> None:
    async def story() -> None:
        async with world() as w:
            await w.authorities.advertise(["x" * 60 + ".example", "short.example"], actor="a", now=NOON)
            certificate = x509.load_der_x509_certificate((await credential(w)).certificate)
            assert certificate.subject.rfc4514_string() == "CN=short.example,O=Edgeward"

    run(story())


def test_it_is_kept_while_it_is_good_and_over_a_start() -> None:
    async def story() -> None:
        async with world() as w:
            first = await credential(w)
            assert await credential(w) == first
            assert await credential(w, *reversed(LOCAL)) == first
            w.later(days=397 * 2 / 3 - 1)
            again = authorities_of(w.store, w.keys)
            await again.open("x", w.now)
            assert await again.server_credential(LOCAL, w.now) == first
            assert (await actions(w)).count("server-certificate.changed") == 1

    run(story())


async def _replaced(w: World, before: ServerCredential, after: ServerCredential) -> None:
    """The certificate is another one, with another key; the old one is revoked as superseded and its key gone."""
    assert after.serial != before.serial
    assert after.key.public_key() != before.key.public_key()
    old, new = await w.store.by_serial(before.serial), await w.store.by_serial(after.serial)
    assert old is not None
    assert new is not None
    assert (old.revoked_at, old.revocation_reason) == (w.now, Reason.SUPERSEDED)
    assert new.revoked_at is None
    assert len(w.keys._keys) == len(await w.store.issuers()) + 1, "the keys of the CAs and of the present certificate"
    assert (await actions(w))[-3:] == ["certificate.issued", "server-certificate.changed", "certificate.revoked"]


def test_another_name_a_near_end_or_a_lost_key_bring_a_new_one() -> None:
    async def story() -> None:
        async with world() as w:
            one = await credential(w)
            await w.authorities.advertise(["cloud.example"], actor="operator:test", now=w.now)
            two = await credential(w)
            await _replaced(w, one, two)
            three = await credential(w, "localhost")
            await _replaced(w, two, three)
            w.later(days=397 * 2 / 3 + 1)
            four = await credential(w, "localhost")
            await _replaced(w, three, four)
            assert four.not_after > three.not_after

    run(story())


def test_another_ca_of_the_same_name_brings_a_new_one() -> None:
    async def story() -> None:
        async with world() as w:
            credentials = []
            for _ in range(2):
                key = new_key()
                await w.authorities.adopt(_ca(key), key, actor="operator:test", now=NOON)
                credentials.append(await credential(w))
                ca = x509.load_der_x509_certificate(w.authorities.active.certificate)
                x509.load_der_x509_certificate(credentials[-1].certificate).verify_directly_issued_by(ca)
            await _replaced(w, *credentials)

    run(story())


def test_a_certificate_whose_key_is_gone_or_that_was_revoked_is_replaced() -> None:
    async def story() -> None:
        async with world() as w:
            one = await credential(w)
            for name, key in list(w.keys._keys.items()):
                if key.public_key() == one.key.public_key():
                    del w.keys._keys[name]
            two = await credential(w)
            assert two.serial != one.serial
            assert await credential(w) == two

    run(story())


def test_names_that_are_none_are_refused_and_an_unchanged_list_writes_nothing() -> None:
    async def story() -> None:
        async with world() as w:
            await w.authorities.advertise(["a.example"], actor="operator:test", now=NOON)
            before = await w.store.audit()
            for bad in ("a b", "", "*.example", "http://a.example", "a.example:443", "fe80::1%eth0"):
                with pytest.raises(BadName):
                    await w.authorities.advertise(["b.example", bad], actor="operator:test", now=NOON)
            await w.authorities.advertise(["A.example"], actor="operator:test", now=NOON)
            assert await w.store.audit() == before
            assert await w.authorities.advertised() == ("a.example",)

    run(story())


def test_a_server_certificate_that_is_not_to_be_leaves_no_key_behind() -> None:
    async def story() -> None:
        store, keys, profiles = open_store(":memory:"), MemoryKeys(), default_profiles()
        issuance = Issuance(store, profiles, "edgeward.internal", octets=lambda number: b"\x07" * number)
        authorities = Authorities(store, keys, issuance, profiles)
        issuer = await authorities.open("Edgeward CA", NOON)  # takes the only serial number there is
        with pytest.raises(SerialCollision):
            await authorities.server_credential(LOCAL, NOON)
        assert list(keys._keys) == [issuer.key.name]
        await store.close()

    run(story())


# ------------------------------------------------------------------------------------ a crash between a key and its row


def keys_in(directory: Path) -> FileKeys:
    return FileKeys(directory, Secret("a passphrase"), scrypt_n=2**14)


async def started(store: RelationalStore, directory: Path) -> Authorities:
    """An authority of a process of its own over what is there."""
    profiles = default_profiles()
    authorities = Authorities(store, keys_in(directory), Issuance(store, profiles, "edgeward.internal"), profiles)
    await authorities.open("Edgeward CA", NOON)
    return authorities


def told_of_files(tmp_path: Path, tell: Callable[[RelationalStore, Path], Awaitable[None]]) -> None:
    async def story() -> None:
        store = open_store(":memory:")
        await tell(store, tmp_path / "keys")
        await store.close()

    run(story())


def names_of(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_key_of_which_no_row_came_to_speak_is_cleared_up(tmp_path: Path) -> None:
    async def tell(store: RelationalStore, directory: Path) -> None:
        first = await started(store, directory)
        await first.server_credential(LOCAL, NOON)
        whole = names_of(directory)
        assert all(name.endswith(".key") for name in whole), "nothing is on trial once it is in use"
        keys_in(directory).create("ec-p256")  # and here the process ends
        assert len(names_of(directory)) == 3
        again = await started(store, directory)
        assert names_of(directory) == whole
        assert again.active == first.active

    told_of_files(tmp_path, tell)


def test_a_key_whose_row_was_written_stays_though_nobody_came_to_say_so(tmp_path: Path) -> None:
    async def tell(store: RelationalStore, directory: Path) -> None:
        first = await started(store, directory)
        served = await first.server_credential(LOCAL, NOON)
        whole = names_of(directory)
        for name in whole:
            (directory / name).rename(directory / f"{name}.trial")
        again = await started(store, directory)
        assert names_of(directory) == whole
        assert (await again.server_credential(LOCAL, NOON)).serial == served.serial

    told_of_files(tmp_path, tell)


def test_the_key_of_the_server_certificate_before_this_one_is_removed_at_the_next_start(tmp_path: Path) -> None:
    async def tell(store: RelationalStore, directory: Path) -> None:
        first = await started(store, directory)
        await first.server_credential(LOCAL, NOON)
        before = {name: (directory / name).read_bytes() for name in names_of(directory)}
        await first.server_credential(("other.example",), NOON)
        whole = names_of(directory)
        (lost,) = before.keys() - set(whole)
        (directory / lost).write_bytes(before[lost])  # as if the process had ended before it was removed
        (directory / lost).chmod(0o600)
        await started(store, directory)
        assert names_of(directory) == whole

    told_of_files(tmp_path, tell)


def test_a_store_that_is_older_than_its_keys_loses_none_of_them(tmp_path: Path) -> None:
    async def tell(store: RelationalStore, directory: Path) -> None:
        await started(store, directory)
        whole = names_of(directory)
        older = open_store(":memory:")
        await started(older, directory)
        assert set(whole) < set(names_of(directory))
        await older.close()

    told_of_files(tmp_path, tell)
