"""The page of a proof: whole, alone, escaped, and in the proof's own words."""

from __future__ import annotations

import dataclasses
import html
import re
from html.parser import HTMLParser

import pytest
from tests.migration.proofstage import NEW, NOW, OLD, Stage

from trustbridge import __version__
from trustbridge.cucm.model import Interface
from trustbridge.migration.findings import Severity
from trustbridge.migration.proof import Proof, prove
from trustbridge.migration.proofreport import as_html
from trustbridge.migration.proofseen import Failure, Gap

_VOID = {"meta", "br"}


class Markup(HTMLParser):
    """Its elements; every one is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.text += " "
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def read(page: str) -> Markup:
    markup = Markup()
    markup.feed(page)
    assert not markup.open
    return markup


def words(text: str) -> str:
    return " ".join(text.split())


def bad() -> Proof:
    """Something of everything."""
    stage = Stage.exchanged()
    stage.emcc = True
    stage.old.cache["old-sub"] = Stage.strangers().old.stores["old-sub"]
    stage.new.failures["new-sub"] = Failure.UNREACHABLE
    stage.new.take(stage.old.recovery)
    stage.gaps.append(Gap(NEW, "new-pub", "identity certificates", "nobody answers"))
    return stage.proof()


@pytest.mark.parametrize("proof", [Stage.exchanged().proof(), bad(), Stage.exchanged().proof(answers=())])
def test_everything_a_proof_says_is_on_the_page_and_unchanged(proof: Proof) -> None:
    page = as_html(proof)
    text = words(read(page).text)
    said = [proof.title, proof.sentence, __version__, "2026-11-24 12:00:00 UTC"]
    said += [part for one in proof.findings for part in (one.id, one.subject, one.title, one.evidence, one.remedy)]
    said += [one.consequence for one in proof.findings]
    said += [part for direction in proof.directions for cell in direction.cells for part in cell.words]
    said += [direction.title for direction in proof.directions]
    said += [part for gap in proof.gaps for part in (gap.where, gap.what, gap.why)]
    said += [place.words for place in proof.placements]
    assert not [one for one in said if words(one) not in text]
    digits = text.replace(" ", "")
    for _, file in proof.files:
        assert file.sha256 in digits
        assert str(file.size) in text
    for direction in proof.directions:
        for signer in direction.signers:
            assert signer.certificate is not None
            assert signer.certificate.sha256 in digits
        for cell in direction.cells:
            assert cell.presented is None or cell.presented.sha256 in digits


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    page = as_html(bad())
    assert not re.search(r"(?i)https?:|<script|<link|<img|@import|url\(|\bon[a-z]+=|src=|href=", page)
    assert "prefers-color-scheme: dark" in page
    assert "default-src 'none'" in page


def test_tables_are_told_to_those_who_do_not_see_them() -> None:
    markup = read(as_html(bad()))
    tags = [tag for tag, _ in markup.seen]
    assert tags.count("caption") == 2
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in markup.seen if tag == "th")
    assert ("html", {"lang": "en"}) in markup.seen
    identifiers = [attributes["id"] for _, attributes in markup.seen if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    labels = [attributes["aria-labelledby"] for _, attributes in markup.seen if "aria-labelledby" in attributes]
    assert set(labels) <= set(identifiers)
    assert markup.text.count("Each cell opens") == 1


def test_names_of_others_are_only_text() -> None:
    evil = "<script>alert(1)</script>&\"'{{7*7}}"
    proof = bad()
    finding = dataclasses.replace(proof.findings[0], evidence=evil, subject=evil, severity=Severity.STOP)
    gap = Gap(evil, evil, evil, evil)
    cluster = dataclasses.replace(proof.clusters[0], release=evil, ways=((evil, Interface.AXL),), detours=(evil,))
    cell = dataclasses.replace(proof.directions[0].cells[0], words=(evil,), address=evil)
    signer = dataclasses.replace(proof.directions[0].signers[0], subject=f"CN={evil}")
    direction = dataclasses.replace(
        proof.directions[0], cells=(cell, *proof.directions[0].cells[1:]), signers=(signer,), left_out=(evil,)
    )
    page = as_html(
        dataclasses.replace(
            proof,
            findings=(finding,),
            gaps=(gap,),
            clusters=(cluster, *proof.clusters[1:]),
            directions=(direction, proof.directions[1]),
        )
    )
    assert "<script" not in page
    assert evil not in page
    assert page.count(html.escape(evil).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")) >= 10
    assert evil in read(page).text


def test_interfaces_are_named() -> None:
    stage = Stage.exchanged()
    seen = stage.observations()
    clusters = dict(seen.clusters)
    clusters[OLD] = dataclasses.replace(
        clusters[OLD], ways=(("groups", Interface.AXL),), detours=("release: not by AXL: it is down",)
    )
    text = words(read(as_html(prove(dataclasses.replace(seen, clusters=clusters), NOW))).text)
    assert "groups AXL" in text
    assert "release: not by AXL: it is down" in text
