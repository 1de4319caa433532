"""The import arrows of the design: `harness` imports `faults` and `nodes`, `faults` imports neither."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"straybit": "harness", "straybit_faults": "faults", "straybit_nodes": "nodes"}
ALLOWED = {
    "straybit": ("straybit", "straybit_faults", "straybit_nodes"),
    "straybit_faults": ("straybit_faults",),
    "straybit_nodes": ("straybit_nodes", "straybit_faults.wire"),
}


def imports(source: str) -> set[str]:
    """Dotted names that a module imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def strays(package: str, source: str) -> set[str]:
    """Imports of our own packages that the design does not allow in `package`."""
    ours = {name for name in imports(source) if name.split(".")[0] in PACKAGES}
    return {name for name in ours if not any(f"{name}.".startswith(f"{ok}.") for ok in ALLOWED[package])}


def test_every_module_keeps_to_the_arrows():
    """No module imports against the direction of the design."""
    modules = [(package, path) for package, top in PACKAGES.items() for path in (ROOT / top / package).rglob("*.py")]
    assert len(modules) > 20
    found = {str(path.relative_to(ROOT)): strays(package, path.read_text()) for package, path in modules}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_stray_import_is_found():
    """The check itself sees an arrow that runs backwards, also inside a function."""
    assert strays("straybit_faults", "def f():\n    from straybit_nodes import topology") == {"straybit_nodes.topology"}
    assert strays("straybit_nodes", "from straybit_faults.flip import Flip") == {"straybit_faults.flip.Flip"}
    assert strays("straybit_nodes", "from straybit_faults.wire import Field") == set()
