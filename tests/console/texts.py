"""All texts of the console that are shown, found in code and templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from babel.messages.extract import extract

from trustbridge.console import words

CONSOLE = Path(words.__file__).parent
KEYWORDS = {"_": None, "N_": None, "plain": None, "ngettext": (1, 2)}


def shown() -> Iterator[tuple[str | tuple[str, ...], str]]:
    """Each text, or pair of one and many, with where it stands."""
    for path in sorted(CONSOLE.rglob("*")):
        kind = {".py": "python", ".html": "jinja2.ext:babel_extract"}.get(path.suffix)
        if kind is None:
            continue
        options = {"extensions": "jinja2.ext.do", "trim_blocks": "true", "silent": "false"}
        with path.open("rb") as file:
            for line, message, _comments, _context in extract(
                kind, file, KEYWORDS, options=options if kind.startswith("jinja") else {"encoding": "utf-8"}
            ):
                text = tuple(message) if isinstance(message, (list, tuple)) else message
                if text:
                    yield text, f"{path.relative_to(CONSOLE)}:{line}"


def missing(language: str) -> list[str]:
    """Texts without a translation, as a catalogue's entries to be filled in."""
    found = words.catalogue(language)
    texts = dict(shown())
    return [
        f'#: {where}\nmsgid {_quoted(text)}\nmsgstr ""\n' if isinstance(text, str) else f"#: {where}\nmsgid {text}\n"
        for text, where in texts.items()
        if not ((entry := found.get(text if isinstance(text, str) else text[0])) and entry.string)
    ]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
