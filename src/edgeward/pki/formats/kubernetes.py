"""Keys and certificates inside Kubernetes objects: Secrets, ConfigMaps and kubeconfig files, as YAML or JSON.

This finds the fields and takes off their base64; what the octets are is `detect`'s business. KubeEdge keeps DER, not
PEM, in its Secrets, and its token in one of them.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from edgeward.errors import Unreadable
from edgeward.pki.formats import yaml

MAX_FIELDS = 2_000

KNOWN_FIELDS = {
    ("casecret", "cadata"): "the CA certificate of KubeEdge",
    ("casecret", "cakeydata"): "the CA's private key: whoever has it can make any node and any token",
    ("cloudcoresecret", "cloudcoredata"): "the server certificate of cloudcore",
    ("cloudcoresecret", "cloudcorekeydata"): "the private key of cloudcore's server certificate",
    ("tokensecret", "tokendata"): "the join token of KubeEdge: whoever has it can join as any node until it expires",
}
"""What KubeEdge keeps in the namespace `kubeedge`, by Secret and key."""

_KUBECONFIG_FIELDS = ("certificate-authority-data", "client-certificate-data", "client-key-data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field with octets in it."""

    key: str
    octets: bytes = field(repr=False)
    meaning: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """One Secret, ConfigMap or kubeconfig: its kind as Kubernetes writes it, its name, its fields."""

    kind: str
    name: str
    fields: tuple[Field, ...]
    notes: tuple[str, ...] = ()


def read(octets: bytes) -> list[Object]:
    """The objects in YAML or JSON text, lists taken apart; objects of other kinds are left out.

    Raises `Unreadable` when the text is neither or holds none of them.
    """
    text = octets.decode("utf-8", "replace")
    if text.lstrip()[:1] in {"{", "["}:
        try:
            parsed = [json.loads(text)]
        except (ValueError, RecursionError) as error:
            raise Unreadable(what="JSON", why=str(error)[:100] or "nested too deeply") from error
    else:
        parsed = yaml.documents(text)
    found = [_object(value) for document in parsed for value in _flat(document, 0)]
    objects = [value for value in found if value is not None]
    if not objects:
        raise Unreadable(what="Kubernetes object", why="no Secret, ConfigMap or kubeconfig in it")
    return objects


def is_namespace(text: str) -> bool:
    """Whether `text` can be the name of a namespace: a DNS-1123 label."""
    return re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", text) is not None


def secret(name: str, fields: Mapping[str, bytes], namespace: str = "kubeedge") -> str:
    """A Secret's manifest in YAML, one document: what `kubectl apply -f` takes."""
    lines = [
        "apiVersion: v1",
        "kind: Secret",
        "metadata:",
        f"  name: {name}",
        f"  namespace: {namespace}",
        "type: Opaque",
        "data:",
    ]
    lines += [f"  {key}: {base64.b64encode(octets).decode()}" for key, octets in fields.items()]
    return "\n".join(lines) + "\n"


def _flat(value: object, depth: int) -> Iterator[dict[str, object]]:
    if isinstance(value, list) and depth < 3:
        for inner in value:
            yield from _flat(inner, depth + 1)
    elif isinstance(value, dict):
        items = value.get("items")
        if str(value.get("kind", "")).endswith("List") and isinstance(items, list):
            yield from _flat(items, depth + 1)
        else:
            yield cast("dict[str, object]", value)


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _object(value: dict[str, object]) -> Object | None:
    kind = value.get("kind")
    if kind == "Config" and isinstance(value.get("clusters"), list):
        return _kubeconfig(value)
    if not isinstance(kind, str) or kind not in {"Secret", "ConfigMap"}:
        return None
    metadata = _mapping(value.get("metadata"))
    name = str(metadata.get("name", ""))
    namespace = str(metadata.get("namespace", ""))
    encoded, plain = _mapping(value.get("data")), _mapping(value.get("stringData"))
    if kind == "ConfigMap":
        encoded, plain = _mapping(value.get("binaryData")), encoded
    fields = [_decoded(str(key), str(text), KNOWN_FIELDS.get((name, str(key)), "")) for key, text in encoded.items()]
    fields += [Field(key=str(key), octets=str(text).encode("utf-8", "replace")) for key, text in plain.items()]
    return Object(kind=str(kind), name=f"{namespace}/{name}" if namespace else name, fields=tuple(fields[:MAX_FIELDS]))


def _kubeconfig(value: dict[str, object]) -> Object:
    fields, notes = [], []
    for section, entry in (("clusters", "cluster"), ("users", "user")):
        members = value.get(section)
        for member in members[:MAX_FIELDS] if isinstance(members, list) else ():
            inner, name = _mapping(_mapping(member).get(entry)), str(_mapping(member).get("name", ""))
            fields += [_decoded(f"{name} {key}", str(inner[key]), "") for key in _KUBECONFIG_FIELDS if key in inner]
            if str(inner.get("insecure-skip-tls-verify", "")).lower() == "true":
                notes.append(f"cluster {name}: insecure-skip-tls-verify is on, the server's certificate is not checked")
            notes += [
                f"{entry} {name}: {key.removesuffix('-data')} is in the file {inner[key.removesuffix('-data')]}"
                for key in _KUBECONFIG_FIELDS
                if inner.get(key.removesuffix("-data"))
            ]
    return Object(
        kind="Config", name=str(value.get("current-context", "")), fields=tuple(fields[:MAX_FIELDS]), notes=tuple(notes)
    )


def _decoded(key: str, text: str, meaning: str) -> Field:
    try:
        return Field(key=key, octets=base64.b64decode("".join(text.split()), validate=True), meaning=meaning)
    except (binascii.Error, ValueError):
        return Field(key=key, octets=b"", meaning=meaning, problem="its value is not base64")
