"""The trace: every message in both directions, the ten steps, where it stopped; as text, as a picture, as a page."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgeward.services.doctor.trace import STEPS
from tests.doctor.forge import CLIENT, SERVER, Home, make, root
from tests.doctor.servers import context, listening, tls
from tests.support.cli import run

CA = root()
DEVICE = make("system:node:edge-1", CA, organization="system:nodes", usages=[CLIENT])


def home(path: Path, leaf: object = None) -> Home:
    return Home(path).server(leaf or make("server", CA, names=["127.0.0.1"], usages=[SERVER])).trusts(CA).client(DEVICE)  # type: ignore[arg-type]


def traced(place: Home, *more: str, **settings: object) -> tuple[list[dict[str, object]], str]:
    with listening(tls(context(place, **settings))) as port:  # type: ignore[arg-type]
        asked = ("doctor", f"127.0.0.1:{port}", "--ca", place.file("ca.crt"), "--trace", *more)
        told = json.loads(run(*asked, "--json").octets)["facts"]["trace"]
        return told, run(*asked).out


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_mutual_authentication_is_told_in_ten_steps(tmp_path: Path, version: str) -> None:
    place = home(tmp_path)
    pair = ("--cert", place.file("client.crt"), "--key", place.file("client.key"))
    told, text = traced(place, *pair, mutual=True, versions=(version, version))
    rows = told[0]["rows"]
    steps = {step for row in rows for step in row["steps"]}  # type: ignore[attr-defined]
    assert steps == set(STEPS)
    assert not any(row["bad"] for row in rows)  # type: ignore[attr-defined]
    assert {row["sender"] for row in rows} == {"client", "server", None}  # type: ignore[attr-defined]
    assert "the handshake is done" in text and "mutual" in text


def test_one_way_is_told_without_the_fifth_step(tmp_path: Path) -> None:
    told, text = traced(home(tmp_path))
    assert 5 not in {step for row in told[0]["rows"] for step in row["steps"]}  # type: ignore[attr-defined]
    assert "one-way" in text
    assert [one["title"].split(",")[0] for one in told] == ["TLSv1.3", "TLSv1.2"]  # type: ignore[attr-defined]


def test_it_says_where_it_stopped(tmp_path: Path) -> None:
    told, text = traced(home(tmp_path), mutual=True)
    last = told[0]["rows"][-2:]  # type: ignore[index]
    assert [row["bad"] for row in last] == [True, True]
    assert last[0]["title"] == "Alert certificate_required" and "here it stopped" in last[1]["title"]
    assert "With TLS 1.3 it comes when the client believes to be connected" in text


def test_a_client_that_refuses_stops_at_the_third_and_fourth_step(tmp_path: Path) -> None:
    other = root("Other CA")
    told, _ = traced(home(tmp_path, make("server", other, names=["cloud.example.com"])))
    checks = [row for row in told[0]["rows"] if row["sender"] is None and row["bad"]]  # type: ignore[attr-defined]
    assert [(row["steps"], row["says"]) for row in checks] == [([3], "unknown-authority"), ([4], "no-ip-sans")]


HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\u202e"


def test_the_picture_and_the_page_are_whole_and_escape_everything(tmp_path: Path) -> None:
    place = home(tmp_path, make(HOSTILE, CA, names=["dns:<img src=x onerror=alert(1)>", "127.0.0.2"]))
    svg, page = tmp_path / "t.svg", tmp_path / "t.html"
    traced(place, "--svg", str(svg), "--html", str(page))
    drawn = ElementTree.fromstring(svg.read_text())
    assert drawn.tag.endswith("svg")
    assert {one.tag.rpartition("}")[2] for one in drawn.iter()} == {"svg", "title", "style", "rect", "text", "line"}
    for text in (svg.read_text(), page.read_text()):
        assert "<script" not in text and "<img" not in text and "\x1b" not in text and "\u202e" not in text
        assert not re.search(r"(?:src|href)=", text.replace("&lt;img src=x", ""))
    assert "default-src 'none'" in page.read_text()


def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    with listening(tls(context(home(tmp_path)))) as port:
        ran = run("doctor", f"127.0.0.1:{port}", "--svg", str(tmp_path / "no" / "t.svg"))
    assert ran.status == 2 and "cannot write" in ran.err
