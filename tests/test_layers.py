"""The architecture as a test: imports point down, `pki` and `model` are pure, and what must be done in one place is done in one place."""

import ast
import functools
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "edgeward"
MODULES = {".".join(p.relative_to(SOURCE).with_suffix("").parts): p for p in sorted(SOURCE.rglob("*.py"))}

LAYERS = (
    {"errors"}, {"files", "extras"}, {"pki"}, {"model"}, {"keys", "stores", "bus"}, {"services", "hub"}, {"protocols", "transports", "web"},
    {"agent"}, {"config"}, {"app_directory", "app_operators", "app_settings", "app_shared"},
    {"app", "app_doctor", "app_offline", "app_workers"}, {"client_calls"}, {"client"}, {"client_async"},
    {"cli", "tls"}, {"testing"}, {"__main__"},
)  # fmt: skip
"""From the bottom; the members of one set do not know each other. `files` is a leaf: `pki` and `model` may not import it."""

IMPURE = {
    "asyncio", "os", "pathlib", "random", "secrets", "socket", "sqlite3", "ssl", "time", "edgeward.files", "edgeward.extras"
}  # fmt: skip
FORBIDDEN = {"open", "print", "input", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
"""What `pki`, `model` and `errors` do not import, and do not call."""

ADAPTER = r"keys\.(database|file|memory|passphrase)|stores\.(postgres|relational|sqlite|writer)|bus\.(alone|link|nats|postgres)"
BUILDERS = {"app", "app_offline", "app_shared"}
CONFIGURED = BUILDERS | {"app_settings", "app_workers", "cli"}
"""Who may know the adapters, and who the configuration."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def imports(module: str) -> list[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import with the full name of what it brings (`edgeward.pki.names`, `ssl`)."""
    nodes = [one for one in ast.walk(tree(module)) if isinstance(one, ast.Import | ast.ImportFrom)]
    prefixes = [f"{one.module}." if isinstance(one, ast.ImportFrom) else "" for one in nodes]
    return [(one, prefix + alias.name) for one, prefix in zip(nodes, prefixes, strict=True) for alias in one.names]


def known(module: str) -> set[str]:
    """The modules of ours that `module` imports, without the package's name."""
    named = {name.removeprefix("edgeward.") for _, name in imports(module) if name.startswith("edgeward.")}
    found = {n if n in MODULES or f"{n}.__init__" in MODULES else n.rpartition(".")[0] for n in named}
    return found - {""}  # the package itself has the version


def calls(module: str) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"__init__"}))
def test_a_module_keeps_to_its_layer(module: str) -> None:
    layer, *rest = module.split(".")
    for other in known(module):
        theirs, *below = other.split(".")
        assert theirs == layer or RANK[theirs] < RANK[layer], f"{module} imports {other}, which is not below it"
        assert layer in {theirs, *BUILDERS} or not re.fullmatch(ADAPTER, other), f"{module} builds an adapter: {other}"
        assert theirs != "config" or layer in CONFIGURED, f"{module} sees the configuration"
        assert layer != "files" or theirs == "errors", "files is a leaf"
        if theirs == layer == "protocols":
            assert below[:1] in (rest[:1], []), f"{module} imports {other}: protocols do not know each other"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith(("pki", "model", "errors"))))
def test_pki_and_model_are_pure(module: str) -> None:
    assert not {one for one in IMPURE for _, name in imports(module) if name == one or name.startswith(one + ".")}
    assert not calls(module) & FORBIDDEN


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_are_plain_and_files_are_short(module: str) -> None:
    for node, name in imports(module):
        assert node in tree(module).body, f"{module}:{node.lineno} imports {name} inside something"
        assert not getattr(node, "level", 0), f"{module}:{node.lineno} is relative"
    text = MODULES[module].read_text()
    assert text.count("\n") < 600
    assert not text.strip() or ast.get_docstring(tree(module)), f"{module} does not say what it owns"


def test_what_must_be_done_in_one_place_is_done_in_one_place() -> None:
    made = {module: calls(module) for module in MODULES}
    signing = {"tbs.certificate", "tbs.encode", "edgeward.pki.tbs.certificate", "edgeward.pki.tbs.encode"}
    assert [m for m in MODULES if signing & (made[m] | {name for _, name in imports(m)})] == ["pki.issue"]
    assert not [m for m in MODULES if "CertificateBuilder" in {call.rpartition(".")[2] for call in made[m]}]
    assert sum(path.read_text().count("SET used = used + ") for path in MODULES.values()) == 1
    revoking = {m for m in MODULES if any(call.endswith(("store.revoke", "store.block")) for call in made[m])}
    assert revoking == {"services.revoker", "services.authorities"}, "the authority replaces its own server certificate"
