"""The road when something breaks on the way: nothing stays half done, and nothing waits for a restart."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.world import NOON, csr, new_key

from edgeward.errors import EdgewardError, NotConforming, StoreUnavailable
from edgeward.keys.memory import MemoryKeys
from edgeward.model.authority import CertificateRecord, CertificateState
from edgeward.model.evidence import Enrolment, TokenEvidence
from edgeward.model.token import Hints
from edgeward.pki.profile import default_profiles
from edgeward.services.authorities import Authorities
from edgeward.services.issuance import Issuance, SigningIssuer
from edgeward.services.registrar import Registrar
from edgeward.services.tokens import Tokens, Wanted
from edgeward.stores.relational import RelationalStore
from edgeward.stores.sqlite import open_store


class Interfering:
    """A CA's key at which something happens whenever it signs."""

    def __init__(self, key: Any, happens: Callable[[], Any], signs: Any = None) -> None:
        self._key, self._happens, self._signs = key, happens, signs or key

    def public_key(self) -> Any:
        return self._key.public_key()

    def sign(self, *arguments: Any) -> bytes:
        self._happens()
        signature: bytes = self._signs.sign(*arguments)
        return signature


class Site:
    """An authority on a file, with a token of one use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store: RelationalStore = open_store(path)
        self.keys = MemoryKeys()
        self.issuance = Issuance(self.store, default_profiles(), "edgeward.internal")
        self.authorities = Authorities(self.store, self.keys, self.issuance, default_profiles())
        self.registrar = Registrar(self.store, self.issuance)
        self.tokens = Tokens(self.store, lambda: self.authorities.active.pin, Hints)

    async def open(self) -> None:
        await self.authorities.open("Edgeward CA test", NOON)
        self.token, self.made = await self.tokens.new(Wanted(node="edge-1"), actor="operator:test", now=NOON)

    def interfere(self, happens: Callable[[], Any], **more: Any) -> None:
        issuer = self.authorities.active
        key: Any = Interfering(self.keys.signer(issuer.key), happens, more.pop("signs", None))
        remote = key.public_key() if more.pop("remote", False) else None
        signing = SigningIssuer.of(issuer, key)
        self.issuance.use(
            SigningIssuer(
                issuer=issuer, certificate=signing.certificate, facts=signing.facts, key=key, remote_key=remote
            )
        )

    async def enrol(self) -> bytes:
        evidence = TokenEvidence(bearer=self.token.bearer)
        return await self.registrar.enrol(
            Enrolment(node="edge-1", csr=csr("edge-1"), evidence=evidence, address="192.0.2.1", at=NOON)
        )

    async def used(self) -> int:
        token = await self.store.token(self.made.key_id)
        assert token is not None
        return token.used

    async def rows(self) -> list[CertificateRecord]:
        """The device certificates, whatever their state."""
        serials = [use.serial for use in await self.store.token_uses(self.made.key_id)]
        found = [await self.store.by_serial(serial) for serial in serials]
        return [record for record in found if record is not None]


def story(tmp_path: Path, tell: Callable[[Site], Any]) -> None:
    async def whole() -> None:
        site = Site(tmp_path / "store.db")
        await site.open()
        await tell(site)
        await site.store.close()

    asyncio.run(whole())


@pytest.mark.parametrize("remote", [False, True])
def test_when_the_store_fails_after_the_signature_the_next_request_finds_everything_in_order(
    tmp_path: Path, *, remote: bool
) -> None:
    async def tell(site: Site) -> None:
        before: list[str] = []
        once = iter([1])

        def breaks() -> None:
            before.extend(seen)
            if remote:
                other.execute("BEGIN IMMEDIATE")
            else:
                connection.set_progress_handler(lambda: next(once, 0), 1)  # the next statement is broken off

        other = sqlite3.connect(site.path, isolation_level=None)
        connection = site.store._writer._engine.connection  # type: ignore[attr-defined]  # what the disk is asked
        seen: list[str] = []
        connection.set_trace_callback(seen.append)
        site.interfere(breaks, remote=remote)
        with pytest.raises(StoreUnavailable):
            await site.enrol()
        assert [one for one in before if "INTO certificate" in one], "the row was there before the signature"
        states = [record.state for record in await site.rows()]
        assert (await site.used(), states) == ((1, [CertificateState.PLANNED]) if remote else (0, []))
        if remote:
            other.execute("ROLLBACK")
        site.interfere(lambda: None, remote=remote)
        der = await site.enrol()
        assert await site.used() == 1
        *lost, kept = await site.rows()
        assert [(one.state, one.revoked_at) for one in lost] == ([(CertificateState.ABANDONED, NOON)] if remote else [])
        assert (kept.state, kept.der) == (CertificateState.ISSUED, der)
        assert await site.store.planned() == []
        other.close()

    story(tmp_path, tell)


@pytest.mark.parametrize(("remote", "commits"), [(False, 1), (True, 2)])
def test_the_planned_row_is_committed_before_the_signature_of_a_key_outside(
    tmp_path: Path, *, remote: bool, commits: int
) -> None:
    """The one signature that could outlive a crash without its row is one that another machine made."""

    async def tell(site: Site) -> None:
        before: list[str] = []
        seen: list[str] = []
        site.interfere(lambda: before.extend(seen), remote=remote)
        site.store._writer._engine.connection.set_trace_callback(seen.append)  # type: ignore[attr-defined]  # what the disk is asked
        await site.enrol()
        assert before.count("COMMIT") == commits - 1
        assert seen.count("COMMIT") == commits

    story(tmp_path, tell)


@pytest.mark.parametrize("remote", [False, True])
def test_when_the_key_fails_the_use_is_given_back_at_once(tmp_path: Path, *, remote: bool) -> None:
    def fails() -> None:
        raise OSError("the token was pulled out")

    async def tell(site: Site) -> None:
        site.interfere(fails, remote=remote)
        with pytest.raises(OSError, match="pulled out"):
            await site.enrol()
        assert await site.used() == 0
        assert [record.state for record in await site.rows()] == [CertificateState.ABANDONED]
        site.interfere(lambda: None)
        assert await site.enrol()

    story(tmp_path, tell)


def test_a_signer_elsewhere_that_uses_another_key_is_found_out(tmp_path: Path) -> None:
    async def tell(site: Site) -> None:
        site.interfere(lambda: None, signs=new_key(), remote=True)
        with pytest.raises(NotConforming, match="signature") as caught:
            await site.enrol()
        assert isinstance(caught.value, EdgewardError)
        assert await site.used() == 0
        assert [record.state for record in await site.rows()] == [CertificateState.ABANDONED]

    story(tmp_path, tell)
