"""What every store must do with the tokens that operators elsewhere ask for: none comes after its maker was revoked."""

import asyncio

from edgeward.errors import OperatorRefused
from edgeward.model.audit import Event
from edgeward.model.authority import Reason
from edgeward.model.token import Token
from edgeward.stores.relational import RelationalStore
from tests.support.places import Place, actions, refused, story
from tests.support.rows import NOON, YEAR, enrolled, event, new_token


def _created(token: Token) -> Event:
    return Event(at=NOON, actor="operator:alice", action="token.created", object=f"token:{token.key_id}", facts={})


def test_only_an_operator_with_a_valid_certificate_makes_a_token(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        token = new_token()
        await enrolled(store, "alice")  # a device of that name is no operator
        await refused(store, OperatorRefused, store.add_token(token, _created(token), "alice"))
        await enrolled(store, "alice", profile="operator", not_after=NOON)
        later = new_token(created_at=NOON + YEAR)
        await refused(store, OperatorRefused, store.add_token(later, _created(later), "alice"))
        await store.add_token(token, _created(token), "alice")
        assert await store.token(token.key_id) == token

    story(place, tell)


def test_whoever_is_revoked_while_they_make_tokens_has_made_those_that_are_found_then(place: Place) -> None:
    async def tell(store: RelationalStore) -> None:
        other = place.open() if place.durable and not place.sqlite else store  # another replica
        mine = await enrolled(store, "alice", profile="operator")
        found: list[str] = []

        async def make() -> Token | None:
            token = new_token()
            try:
                await other.add_token(token, _created(token), "alice")
            except OperatorRefused:
                return None
            return token

        async def makes() -> list[Token | None]:
            return [await make() for _ in range(5)]

        async def revoke() -> None:
            await store.revoke([mine.serial], NOON, Reason.KEY_COMPROMISE, event("operator.revoked"))
            found.extend(token.key_id for token in await store.tokens_made_by("operator:alice", NOON))

        tokens, _ = await asyncio.gather(asyncio.gather(*(makes() for _ in range(10))), revoke())
        made = {token.key_id for some in tokens for token in some if token is not None}
        assert set(found) == made
        assert (await actions(store)).count("token.created") == len(made)
        if other is not store:
            await other.close()

    story(place, tell)
