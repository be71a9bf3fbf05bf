"""The message and its JSON form: what KubeEdge writes we read and write alike; what is hostile is refused at little cost."""

import json
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from edgeward.errors import InputError, TooLarge, Unreadable
from edgeward.model import message as messages
from edgeward.model.message import MAX_ENVELOPE, Header, Message, Route

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "kubeedge.json").read_text())
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_kubeedge_s_own_messages_read_and_write_octet_for_octet(vector):
    text = vector["websocket_json"].encode()
    assert messages.encode(messages.decode(text)) == text


def test_the_keepalive_is_kubeedge_s():
    vector = messages.decode(VECTORS["frames"][0]["websocket_json"].encode())
    made = messages.keepalive("id-1", datetime.fromtimestamp(1_700_000_000, UTC))
    assert made == vector


def test_a_response_is_what_a_real_edge_answers():
    reply = VECTORS["edge_replies"][0]
    asked = messages.decode(json.dumps(reply["to"]).encode())
    text = messages.decode(reply["text"].encode())
    moment = datetime.fromtimestamp(text.timestamp / 1000, UTC)
    made = messages.response_to(asked, messages.ACK, msg_id=text.msg_id, now=moment)
    assert messages.encode(made) == reply["text"].encode()


def test_a_response_copies_source_group_resource_and_type_and_drops_the_destination():
    asked = Message(
        header=Header(msg_id="a", timestamp=1, type="t", resourceversion="7", sync=True),
        route=Route(source="s", destination="d", group="g", operation="query", resource="r"),
    )
    made = messages.response_to(asked, Raw(b"{}"), msg_id="b", now=NOW)
    assert made == Message(
        header=Header(msg_id="b", parent_msg_id="a", timestamp=messages.milliseconds(NOW), type="t"),
        route=Route(source="s", group="g", operation="response", resource="r"),
        content=Raw(b"{}"),
    )


def test_an_error_carries_its_sentence_and_the_resource():
    asked = Message(header=Header(msg_id="a"), route=Route(source="s", group="g", operation="update", resource="r"))
    made = messages.error_to(asked, 'no "r" here', msg_id="b", now=NOW)
    assert (made.parent_msg_id, made.operation, made.resource, made.source, made.group) == ("a", "error", "r", "", "")
    assert msgspec.json.decode(made.content) == 'no "r" here'


def test_what_is_empty_is_omitted_and_what_is_always_there_is_written():
    assert messages.encode(Message()) == b'{"header":{"msg_id":"","timestamp":0},"route":{},"content":null}\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{}", Message()),
        (b' {"header": {"msg_id": "a"}} \n\n', Message(header=Header(msg_id="a"))),
        (b'{"unknown":[1,{}],"header":{"msg_id":"a","new":true}}', Message(header=Header(msg_id="a"))),
        (
            b'{"HEADER":{"Msg_Id":"a"},"Route":{"SOURCE":"s"}}',
            Message(header=Header(msg_id="a"), route=Route(source="s")),
        ),
        (b'{"header":null,"route":{"source":null},"content":null}', Message()),
        (b'{"header":{"sync":true,"TimeStamp":5}}', Message(header=Header(sync=True, timestamp=5))),
        (b'{"header":{"timestamp":-9223372036854775808}}', Message(header=Header(timestamp=-(2**63)))),
        (b'{"Content":{"a":1}}', Message(content=Raw(b'{"a":1}'))),
    ],
)
def test_it_reads_as_go_reads(text, expected):
    assert messages.decode(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"{",
        b'{"header":{"msg_id":1}}',
        b'{"header":{"timestamp":"1"}}',
        b'{"header":{"timestamp":1.0}}',
        b'{"header":{"timestamp":1e3}}',
        b'{"header":{"timestamp":9223372036854775808}}',
        b'{"Header":{"timestamp":1.5}}',
        b'{"header":{"sync":"true"}}',
        b'{"header":[]}',
        b'{"route":"x"}',
        b'{"content":nul}',
        b"{} {}",
        b'{"header":{"msg_id":"\xff"}}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_invalid_json_and_wrong_types_are_refused(text):
    with pytest.raises(Unreadable):
        messages.decode(text)


BOMBS = {
    "depth": b'{"content":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "depth, never closed": b'{"content":' + b'{"a":' * 100_000,
    "depth in an unknown member": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a million members": b"{" + b",".join(b'"a%d":0' % n for n in range(1_000_000)) + b"}",
    "a million members of the header": b'{"header":{' + b",".join(b'"a%d":0' % n for n in range(1_000_000)) + b"}}",
    "a number of 10 MB": b'{"header":{"timestamp":1' + b"0" * 10_000_000 + b"}}",
    "a name of 10 MB": b'{"route":{"resource":"' + b"a" * 10_000_000 + b'"}}',
    "NaN": b'{"content":NaN}',
    "Infinity": b'{"header":{"timestamp":Infinity}}',
    "an unknown member of 10 MB": b'{"x":"' + b"a" * 10_000_000 + b'"}',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_t40_message_bombs_are_refused_cheaply(bomb):
    tracemalloc.start()
    before = time.process_time()
    try:
        with pytest.raises(InputError):
            messages.decode(bomb)
        used, peak = time.process_time() - before, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 0.1
    assert peak < len(bomb) + 2**20


def test_t40_content_is_never_taken_apart():
    content = b"{" + b",".join(b'"a%d":1%s' % (n, b"0" * 20) for n in range(300_000)) + b"}"
    text = b'{"content":' + content + b"}"
    tracemalloc.start()
    try:
        message = messages.decode(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message.content == Raw(content)
    assert peak < 2**16


def test_t40_of_a_repeated_member_the_last_counts():
    message = messages.decode(b'{"route":{"resource":"a"},"route":{"resource":"b"},"content":1,"content":2}')
    assert (message.resource, message.content) == ("b", Raw(b"2"))


def test_an_unknown_member_does_not_stop_a_large_content():
    content = b'"' + b"a" * (4 * MAX_ENVELOPE) + b'"'
    assert messages.decode(b'{"future":1,"content":' + content + b"}").content == Raw(content)


def test_the_envelope_is_small():
    with pytest.raises(TooLarge):
        messages.decode(b'{"header":{"msg_id":"' + b"a" * MAX_ENVELOPE + b'"},"content":1}')


names = st.text(st.characters(codec="utf-8"), max_size=40)
routes = st.builds(Route, source=names, destination=names, group=names, operation=names, resource=names)
headers = st.builds(
    Header,
    msg_id=names,
    parent_msg_id=names,
    timestamp=st.integers(-(2**63), 2**63 - 1),
    resourceversion=names,
    sync=st.booleans(),
    type=names,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
made = st.builds(Message, header=headers, route=routes, content=json_values.map(lambda v: Raw(json.dumps(v).encode())))


@given(made)
def test_every_message_survives_the_wire(message):
    assert messages.decode(messages.encode(message)) == message


@given(made, st.randoms())
def test_case_and_order_and_strangers_do_not_matter(message, random):
    def disturbed(members):
        pairs = [("".join(random.choice((c.upper(), c)) for c in name), value) for name, value in members.items()]
        pairs += [("stranger", [1])]
        random.shuffle(pairs)
        return dict(pairs)

    document = json.loads(messages.encode(message))
    document["header"], document["route"] = disturbed(document["header"]), disturbed(document["route"])
    read = messages.decode(json.dumps(disturbed(document)).encode())
    assert (read.header, read.route) == (message.header, message.route)
    assert msgspec.json.decode(read.content) == msgspec.json.decode(message.content)


@given(
    st.binary(max_size=200)
    | st.text(alphabet='{}[]":,0123456789.eE-+ntrufalsmgd_iourchk \\', max_size=200).map(str.encode)
)
def test_any_octets_are_a_message_or_an_input_error(octets):
    try:
        messages.decode(octets)
    except InputError:
        return
