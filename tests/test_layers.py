"""The architecture as a test: imports point down, `pki` and `model` are pure, and what must be done in one place is done in one place."""

import ast
import functools
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "edgeward"
MODULES = {".".join(p.relative_to(SOURCE).with_suffix("").parts): p for p in sorted(SOURCE.rglob("*.py"))}

LAYERS = (
    {"errors"}, {"files", "extras"}, {"pki"}, {"model"}, {"keys", "stores", "bus"}, {"services", "hub"}, {"protocols", "transports", "web"},
    {"agent"}, {"config"}, {"app_directory", "app_operators", "app_settings", "app_shared"},
    {"app", "app_doctor", "app_offline", "app_workers"}, {"client"},
    {"cli", "tls"}, {"testing"}, {"__main__"},
)  # fmt: skip
"""From the bottom; the members of one set do not know each other. `files` is a leaf: `pki` and `model` may not import it."""

IMPURE = {"asyncio", "os", "pathlib", "random", "secrets", "socket", "sqlite3", "ssl", "time", "edgeward.files"}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
ADAPTERS = {
    "keys.file",
    "keys.memory",
    "keys.passphrase",
    "stores.sqlite",
    "stores.postgres",
    "stores.relational",
    "stores.writer",
}
MAY_REVOKE = {"services.revoker", "services.authorities"}
"""The revoker, and the authority for its own server certificate, which it replaces."""


@functools.cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def imports(node: ast.AST) -> list[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import below `node` with the full name of what it brings (`edgeward.pki.names`, `ssl`)."""
    found: list[tuple[ast.Import | ast.ImportFrom, str]] = []
    for one in ast.walk(node):
        if isinstance(one, ast.Import):
            found += [(one, alias.name) for alias in one.names]
        elif isinstance(one, ast.ImportFrom):
            found += [(one, f"{one.module}.{alias.name}") for alias in one.names]
    return found


def known(module: str) -> set[str]:
    """The modules of ours that `module` imports, without the package's name."""
    named = {name.removeprefix("edgeward.") for _, name in imports(tree(module)) if name.startswith("edgeward.")}
    return {name if name in MODULES or f"{name}.__init__" in MODULES else name.rpartition(".")[0] for name in named} - {
        ""
    }


def calls(module: str) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"__init__"}))
def test_a_module_keeps_to_its_layer(module: str) -> None:
    layer, *rest = module.split(".")
    for other in known(module):
        if other == "__init__" or other.startswith("__version__"):
            continue
        theirs, *below = other.split(".")
        assert theirs == layer or RANK[theirs] < RANK[layer], f"{module} imports {other}, which is not below it"
        if theirs == layer == "protocols":
            assert below[:1] in (rest[:1], []), f"{module} imports {other}: protocols do not know each other"
        assert theirs != "config" or layer in (
            "app_settings",
            "app_shared",
            "app",
            "app_offline",
            "app_workers",
            "cli",
        ), f"{module} sees the configuration"
        assert other not in ADAPTERS or layer in ("app_shared", "app", "app_offline", theirs), (
            f"{module} builds an adapter: {other}"
        )
        assert layer != "files" or theirs == "errors", "files is a leaf"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith(("pki", "model", "errors"))))
def test_pki_and_model_are_pure(module: str) -> None:
    brought = {name for _, name in imports(tree(module))}
    assert not {i for i in IMPURE for name in brought if name == i or name.startswith(i + ".")}
    assert not calls(module) & {"open", "datetime.now", "datetime.utcnow", "datetime.today", "print", "input"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_are_plain_and_files_are_short(module: str) -> None:
    top = {id(node) for node in tree(module).body}
    for node, name in imports(tree(module)):
        assert id(node) in top, f"{module}:{node.lineno} imports {name} inside something"
        assert not isinstance(node, ast.ImportFrom) or node.level == 0, f"{module}:{node.lineno} is relative"
    text = MODULES[module].read_text()
    assert text.count("\n") < 600
    assert not text.strip() or ast.get_docstring(tree(module)), f"{module} does not say what it owns"


def test_one_call_site_signs_certificates() -> None:
    everywhere = {module: calls(module) for module in MODULES}
    assert [m for m, made in everywhere.items() if made & {"tbs.certificate", "edgeward.pki.tbs.certificate"}] == [
        "pki.issue"
    ]
    assert not [m for m in MODULES if "CertificateBuilder" in {n.rpartition(".")[2] for n in everywhere[m]}]
    assert [m for m in MODULES if "tbs.encode" in everywhere[m]] == ["pki.issue"]
    assert not [m for m in MODULES if ("edgeward.pki.tbs.certificate" in {n for _, n in imports(tree(m))})]


def test_one_statement_spends_a_token_and_the_revoker_revokes() -> None:
    assert sum(path.read_text().count("SET used = used + 1") for path in MODULES.values()) == 1
    doing = {m for m in MODULES if any(c.endswith(("store.revoke", "store.block")) for c in calls(m))}
    assert doing == MAY_REVOKE
