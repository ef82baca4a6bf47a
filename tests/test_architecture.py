"""The house rules of docs/architecture.md, checked on the source: who may import whom, and what must stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "trustbridge"

#: Each layer may import those before it. `cucm` and what follows it never import `services` or `lab`.
LAB_SIDE = ("wire", "pki", "trust", "exchange", "clients", "services", "lab")
DRIVER_SIDE = ("wire", "pki", "trust", "exchange", "clients", "cucm", "dhcp", "storage", "migration", "console")
#: Modules beside the layers, which any layer may import; they import nothing but `errors`.
GROUND = ("errors", "atomicfile", "settings", "eventloop", "expectations", "__init__")

#: No sockets, files or clock in decisions.
FORBIDDEN_IN_DECISIONS = {"socket", "asyncio", "os", "pathlib", "time", "ssl", "random", "secrets", "subprocess"}


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """Every module a file imports, inside functions too; those for type checking alone do not count."""

    class Finder(ast.NodeVisitor):
        def __init__(self) -> None:
            self.found: list[str] = []

        def visit_If(self, node: ast.If) -> None:
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            self.found += [alias.name for alias in node.names]

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            assert node.level == 0, f"{path} has a relative import"
            self.found += [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]

    finder = Finder()
    finder.visit(ast.parse(path.read_text("utf-8")))
    return iter(finder.found)


def _layer(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def _allowed(layer: str) -> set[str]:
    for side in (LAB_SIDE, DRIVER_SIDE):
        if layer in side:
            return {*side[: side.index(layer) + 1], *GROUND}
    if layer in GROUND:
        return {"errors"}
    return {*LAB_SIDE, *DRIVER_SIDE, *GROUND, "cli"}  # cli and __main__


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    allowed = _allowed(_layer(path))
    wrong = {
        name
        for name in _imports(path)
        if name.startswith("trustbridge.") and name.split(".")[1] not in allowed and name != "trustbridge.__version__"
    }
    assert not wrong, f"{_layer(path)} must not import {sorted(wrong)}"


@pytest.mark.parametrize("layer", ["wire", "pki", "trust"])
def test_decisions_and_codecs_do_no_input_or_output(layer: str) -> None:
    for path in (SOURCE / layer).rglob("*.py"):
        heads = {name.split(".")[0] for name in _imports(path)}
        allowed_here = {"secrets"} if path.name == "issue.py" else set()  # keys and serials are random
        assert not heads & (FORBIDDEN_IN_DECISIONS - allowed_here), path
        text = path.read_text("utf-8")
        assert ".now(" not in text, f"{path}: the time is an argument"
        assert "utcnow(" not in text, f"{path}: the time is an argument"


def test_codecs_need_the_standard_library_alone() -> None:
    # DHCP's packets come from a library: the one place, and behind a module of ours.
    libraries = {"dhcp.py": {"pydhcp"}}
    for path in (SOURCE / "wire").rglob("*.py"):
        heads = {name.split(".")[0] for name in _imports(path)} - libraries.get(path.name, set())
        assert heads <= sys.stdlib_module_names | {"trustbridge"}, path


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; import trustbridge.cli; "
        "heavy = {'cryptography', 'asyncssh', 'pydantic', 'structlog', 'rich', 'uvloop', 'asyncio', 'pydhcp'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_settings_reads_the_environment() -> None:
    # A password is the exception: it must not pass through a file of settings or a log of them.
    readers = {path.name for path in _modules() if "os.environ" in path.read_text("utf-8")}
    assert readers <= {"settings.py", "passwords.py"}, readers


def test_no_module_is_named_for_nothing() -> None:
    names = {path.stem for path in _modules()} | {path.parent.name for path in _modules()}
    assert not names & {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
