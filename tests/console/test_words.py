"""Both languages are whole, nothing is left over in a catalogue, and times are the reader's."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from markupsafe import Markup
from tests.console.texts import missing, shown

from trustbridge.console import words
from trustbridge.console.words import Reader, speaking

OTHERS = [language for language in words.LANGUAGES if language != "en"]
AT = datetime(2026, 3, 1, 22, 30, 5, tzinfo=UTC)
PLACE = re.compile(r"%\((\w+)\)s")


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_translated(language: str) -> None:
    assert not missing(language), "\n" + "\n".join(missing(language))


@pytest.mark.parametrize("language", OTHERS)
def test_catalogues_have_nothing_else(language: str) -> None:
    texts = {text if isinstance(text, str) else text[0] for text, _ in shown()}
    for message in words.catalogue(language):
        key = message.id if isinstance(message.id, str) else message.id[0]
        assert not key or key in texts, f"nobody shows {key!r}"


@pytest.mark.parametrize("language", OTHERS)
def test_translations_have_the_same_places_for_values(language: str) -> None:
    for message in words.catalogue(language):
        ids = (message.id,) if isinstance(message.id, str) else message.id
        strings = (message.string,) if isinstance(message.string, str) else message.string
        for text in strings or ():
            assert set(PLACE.findall(text)) <= {name for one in ids for name in PLACE.findall(one)}, text
            if message.id and isinstance(message.id, str):
                assert set(PLACE.findall(text)) == set(PLACE.findall(message.id)), text


def test_values_are_escaped_and_markup_is_kept() -> None:
    with speaking(Reader("fr")):
        assert words._("%(name)s is changed.", name="<b>") == "&lt;b&gt; est modifié."
        assert words._("%(name)s is changed.", name=Markup("<b>a</b>")) == "<b>a</b> est modifié."
        assert words.plain("%(name)s is changed.", name="<b>") == "<b> est modifié."
    assert words._("Users & <tokens>") == "Users &amp; &lt;tokens&gt;"


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("en-US,en;q=0.9,fr;q=0.8", "en"),
        ("de,fr;q=0.5", "fr"),
        ("en;q=0.1, fr;q=0.9", "fr"),
        ("fr;q=0, *", "en"),
        ("", "en"),
        (";;;q=x,fr;q=abc", "en"),
    ],
)
def test_the_language_a_browser_likes_best(accept: str, language: str) -> None:
    assert words.preferred(accept) == language


def test_times_are_in_the_readers_zone_and_language() -> None:
    with speaking(Reader("fr", "Europe/Paris")):
        assert words.moment(AT) == (
            '<time datetime="2026-03-01T22:30:05+00:00" title="1 mars 2026 23:30:05 Europe/Paris">'
            "1 mars 2026 23:30:05</time>"
        )
        assert "23:30:05" in words.clock(AT)
        assert words.number(60000) == "60\u202f000"
    with speaking(Reader("en", "Asia/Tokyo")):
        assert words.day(AT) == "2 Mar 2026"
        assert words.span(3723) == "1 hr 2 mins"
        assert words.span(0) == "0 secs"
        assert words.local_moment("2026-03-02T07:30") == AT.replace(second=0)
    assert words.local_moment("nonsense") is None
    assert words.local_moment("") is None
    assert not words.known_zone("../../etc/passwd")
    assert not words.known_zone("No/Where")
