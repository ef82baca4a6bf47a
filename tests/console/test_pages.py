"""Every page answers, in both languages, with the headers that keep a browser strict."""

from __future__ import annotations

import re

import pytest
from tests.console.desks import SignIn

from trustbridge.console.frame import CSP
from trustbridge.storage.people import Role

PAGES = ("/", "/account", "/users", "/audit", "/jobs", "/api/v1/docs")


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole(signed_in: SignIn, path: str, language: str) -> None:
    browser = signed_in(Role.ADMINISTRATOR)
    answer = browser.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}">' in answer.text
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", answer.text)
