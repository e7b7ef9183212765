"""Who may import whom: one floor above the other, and nothing heavy before it is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smalti

FOLDERS = ("tokenizers", "codecs", "metrics", "recipes")
GROUND = tuple(f"smalti.tokenizers.{name}" for name in ("contracts", "errors", "signals", "tokens"))
ALLOWED = {
    "tokenizers": ("smalti.tokenizers",),
    "codecs": ("smalti.codecs", "smalti.tokenizers.nets", *GROUND),
    "metrics": ("smalti.metrics", *GROUND),
    "recipes": ("smalti.recipes", "smalti.tokenizers", "smalti.codecs", "smalti.metrics", "smalti.prepare"),
}


def imports(path: Path, module: str) -> Iterator[tuple[int, str]]:
    """(line, absolute module name) of each import in a file, those inside functions too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            home = ".".join(filter(None, (base, node.module)))
            # `from smalti.codecs import notes` imports smalti.codecs.notes
            yield from ((node.lineno, f"{home}.{alias.name}" if home.startswith("smalti") else home) for alias in node.names)


def modules(repository: Path, folder: str) -> dict[str, Path]:
    found = {}
    for path in sorted((repository / folder).rglob("*.py")):
        parts = path.relative_to(repository).with_suffix("").parts
        found[".".join(("smalti", *parts)).removesuffix(".__init__")] = path
    return found


def within(name: str, homes: tuple[str, ...]) -> bool:
    return any(name == home or name.startswith(f"{home}.") for home in homes)


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_only_what_lies_below_them(repository: Path, folder: str) -> None:
    found = modules(repository, folder)
    assert found
    wrong = [
        f"{path.relative_to(repository)}:{line} imports {name}"
        for module, path in found.items()
        for line, name in imports(path, module)
        if within(name, ("smalti",)) and not within(name, ALLOWED[folder])
    ]
    assert not wrong, "\n".join(wrong)


def test_the_ground_floor_imports_only_numpy(repository: Path) -> None:
    found = modules(repository, "tokenizers")
    wrong = [
        f"{module}:{line} imports {name}"
        for module in GROUND
        for line, name in imports(found[module], module)
        if not within(name, GROUND) and name.partition(".")[0] not in {"numpy", *sys.stdlib_module_names}
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_imported_by_the_folders_names(repository: Path) -> None:
    # `import tokenizers` is another project's package, `import codecs` the standard library's
    wrong = [
        f"{path.relative_to(repository)}:{line} imports {name}"
        for folder in FOLDERS
        for module, path in modules(repository, folder).items()
        for line, name in imports(path, module)
        if within(name, ("metrics", "recipes"))
    ]
    assert not wrong, "\n".join(wrong)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import smalti", {"numpy", "torch", "numba", "PIL", "importlib.metadata"}),
        ("import smalti.codecs.bitstream", {"torch", "numba", "PIL", "av", "scipy"}),
        ("import smalti.codecs.media.files", {"torch", "numba", "PIL"}),
        ("import smalti.tokenizers.contracts", {"torch", "numba"}),
        ("import smalti.cli", {"torch", "numba"}),
    ],
)
def test_heavy_imports_happen_on_use(statement: str, absent: set[str]) -> None:
    assert not absent & loaded_by(statement)


def test_public_names_are_found_on_use() -> None:
    assert sorted(smalti.__all__) == smalti.__all__
    assert set(smalti.__all__) <= set(dir(smalti))
    for name in smalti.__all__:
        assert getattr(smalti, name) is not None
    assert smalti.Image is importlib.import_module("smalti.tokenizers.signals").Image
    assert smalti.__version__[0].isdigit()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'tokenise'"):
        _ = smalti.tokenise  # type: ignore[attr-defined]


def test_preparing_imports_neither_recipes_nor_the_command_line(repository: Path) -> None:
    # recipes train on what it prepares
    wrong = [
        f"{path.relative_to(repository)}:{line} imports {name}"
        for module, path in modules(repository, "smalti/prepare").items()
        for line, name in imports(path, module.replace("smalti.smalti/prepare", "smalti.prepare"))
        if within(name, ("smalti.recipes", "smalti.cli"))
    ]
    assert not wrong, "\n".join(wrong)
