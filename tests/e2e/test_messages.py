"""Messages with real processes: the example program, and a node that falls silent without a word."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.server import Server, message, receive, server, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "send_and_listen.py"


def agent(authority: Server, node: str, place: Path) -> subprocess.Popen[bytes]:
    """A joined node whose agent runs."""
    token = place.parent / f"{node}.token"
    token.write_text(authority.token(node))
    url, hub = f"https://127.0.0.1:{authority.https}", f"127.0.0.1:{authority.hub}"
    joined = authority.home.run("join", url, "--token", f"@{token}", "--node", node, "--dir", place, "--hub", hub)
    assert joined.status == 0, joined
    return authority.home.start("agent", "--dir", place, "--hub", hub, log=place.parent / f"{node}.log")


def test_the_example_sends_waits_and_listens() -> None:
    with server() as authority:
        pair = authority.device("edge-1")
        with authority.connect(pair, "edge-1") as connection:

            def live() -> None:
                got = receive(connection, 30)
                connection.send(
                    message(
                        "response", got["route"]["resource"], "OK", msg_id="r", parent_msg_id=got["header"]["msg_id"]
                    )
                )
                for n in range(200):  # until it listens, nobody hears
                    connection.send(message("upload", "default/temperature", n))
                    if over.wait(0.1):
                        return

            over = threading.Event()
            living = threading.Thread(target=live)
            living.start()
            command = [sys.executable, EXAMPLE, authority.data, "edge-1", "1"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=60, env=authority.home.environment, check=False
            )
            over.set()
            living.join()
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert first.split()[1] == "acknowledged" and second == "edge-1 upload default/temperature"
        command[3] = "edge-9"
        refused = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=authority.home.environment, check=False
        )
        assert refused.returncode == 1 and "no node edge-9 (not-found)" in refused.stderr


def test_t38_a_stopped_process_is_noticed_within_two_heartbeats_and_gets_its_messages_when_it_goes_on() -> None:
    with server(configuration="[hub]\nkeepalive_seconds = 2\n") as authority:
        place = authority.directory / "edge-1"
        process = agent(authority, "edge-1", place)
        try:
            until(lambda: authority.state("edge-1") == "online", "edge-1 online", 60)
            process.send_signal(signal.SIGSTOP)
            node = until(lambda: (n := authority.nodes()["edge-1"])["state"] == "offline" and n, "edge-1 offline", 30)
            assert node["cause"] == "silent"
            sent = authority.run(
                "send", "edge-1", "--operation", "update", "--resource", "default/configmap/x", "--id", "m1"
            )
            assert sent.status == 0 and sent.out == "m1 queued\n"
            process.send_signal(signal.SIGCONT)
            until(lambda: authority.api("GET", "/v1/messages/m1")["state"] == "acknowledged", "the acknowledgement", 60)
        finally:
            process.kill()
            process.wait()


def test_t51_what_a_device_says_moves_no_terminal() -> None:
    """U+009B begins a command to a terminal, U+202E turns a line round; as escapes they are the same JSON and harmless."""
    hostile = "\x9b2J\x1b]0;x\x07\x7f\u2028\u202e\U000e0001é"
    with server() as authority:
        pair = authority.device("edge-1")
        heard = authority.directory / "heard"
        watch = authority.home.start(
            "watch", "--operation", "upload", "--count", "1", "--data", authority.data, log=heard
        )
        with authority.connect(pair, "edge-1") as connection:
            over = threading.Event()

            def answer() -> None:
                got = receive(connection, 30)
                parent = got["header"]["msg_id"]
                connection.send(message("response", hostile, {"said": hostile}, msg_id="r", parent_msg_id=parent))
                while not over.wait(0.1):  # until somebody watches, nobody hears
                    connection.send(message("upload", hostile, hostile))

            answering = threading.Thread(target=answer)
            answering.start()
            try:
                sent = authority.run(
                    "send", "edge-1", "--operation", "update", "--resource", "x", "1", "--wait", "20", "--json"
                )
                assert sent.status == 0, sent
                shown = authority.run("message", "show", sent.json["msg_id"])
                assert watch.wait(30) == 0
            finally:
                over.set()
                answering.join()
        said = heard.read_text()
    for text in (sent.out, shown.out, said):
        assert text.replace("\n", "").isprintable() and "é" in text, text
    assert json.loads(said)["message"]["content"] == hostile
    assert sent.json["answer"]["content"] == {"said": hostile}
