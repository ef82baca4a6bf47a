"""What is no Python goes into the package, too."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_templates_files_for_browsers_and_catalogues_are_part_of_the_package() -> None:
    source = ROOT / "src" / "trustbridge"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in patterns["trustbridge"] for path in source.glob(pattern)}
    wanted = {
        path
        for path in (source / "console").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and not path.name.startswith(".")
    }
    assert wanted
    assert wanted <= packed, sorted(wanted - packed)


def test_what_comes_from_others_has_its_licence_beside_it() -> None:
    static = ROOT / "src" / "trustbridge" / "console" / "static"
    for path in static.glob("*.min.js"):
        assert (static / f"{path.name.removesuffix('.min.js')}.LICENSE").exists(), path
