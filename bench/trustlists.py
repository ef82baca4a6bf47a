"""Trust lists parsed and verified a second, and built and signed, on one core.

Every file is another one (its time of signing differs), so that nothing is answered from a cache: the phones' cache of
decoded lists is not in the path. When building, the records of a cluster's certificates are made once, as they are when
a cluster builds its nodes' lists; header, encoding and signature are made for every file.

What is measured is CPU time, against the bare RSA operation over the same bytes in the same run, and against `openssl
speed rsa2048` of this machine where openssl (Debian package openssl) is there: that one signs and verifies a ready
digest, without hashing a file. Rounds are interleaved and medians taken.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from trustbridge.pki.issue import Organisation, node_identities
from trustbridge.pki.units import Unit
from trustbridge.trust import configuration as configurations
from trustbridge.trust import lists
from trustbridge.trust.configuration import CallManagerMember, Configuration, TvsServer
from trustbridge.trust.lists import ListedCertificate, NodeCertificates, Signer
from trustbridge.wire import signedfile, trustlist

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
#: Files a second and core, parsed and verified.
GOAL_VERIFIED = 10_000
#: Share of the bare signatures a second that building and signing reaches.
GOAL_SIGNED = 0.8


@dataclass(frozen=True)
class Material:
    """A cluster's ITL: what it lists and who signs it."""

    entries: list[ListedCertificate]
    signer: Signer

    def build(self, number: int) -> bytes:
        """One of its ITLs; every number gives another file."""
        made = lists.build_trust_list(
            self.entries, self.signer, file_name="ITLFile.tlv", now=NOW + timedelta(seconds=number)
        )
        return trustlist.encode(made)


def cluster(nodes: int, tftp_nodes: int) -> Material:
    """The ITL of a publisher, signed by ITLRecovery: RSA 2048 throughout."""
    organisation = Organisation(ou="TAC", o="Cisco", l="Krakow", st="Malopolska", c="PL")
    made = [
        {
            identity.unit: identity
            for identity in node_identities(
                f"cm{number}",
                domain="bench.test",
                organisation=organisation,
                now=NOW,
                publisher=number == 1,
                itlrecovery=number == 1,
                ecdsa=False,
            )
        }
        for number in range(1, nodes + 1)
    ]
    listed = [
        NodeCertificates(
            f"cm{number}", units[Unit.CALLMANAGER].certificate, units[Unit.TVS].certificate, number <= tftp_nodes
        )
        for number, units in enumerate(made, 1)
    ]
    recovery = made[0][Unit.ITLRECOVERY]
    entries = lists.itl_entries(
        listed[0],
        listed,
        publisher="cm1",
        signer=recovery.certificate,
        itl_recovery=recovery.certificate,
        capf=made[0][Unit.CAPF].certificate,
    )
    return Material(entries, Signer(recovery.certificate, recovery.private_key))


def per_second(count: int, work: Callable[[], None]) -> float:
    """Operations a second of CPU time when `work` does `count` of them."""
    started = time.process_time()
    work()
    return count / (time.process_time() - started)


def parse_and_verify(files: Sequence[bytes], material: Material) -> float:
    certificate = material.signer.certificate

    def work() -> None:
        for data in files:
            lists.check_signature(trustlist.decode(data).header, data, certificate)

    return per_second(len(files), work)


def verify_alone(signed: Sequence[tuple[bytes, bytes]], material: Material) -> float:
    key = material.signer.certificate.public_key
    assert isinstance(key, rsa.RSAPublicKey)
    scheme, digest = padding.PKCS1v15(), hashes.SHA1()

    def work() -> None:
        for signature, covered in signed:
            key.verify(signature, covered, scheme, digest)

    return per_second(len(signed), work)


def build_and_sign(count: int, material: Material) -> float:
    def work() -> None:
        for number in range(count):
            material.build(number)

    return per_second(count, work)


def sign_configurations(count: int, content: bytes, signer: Signer) -> float:
    def work() -> None:
        for number in range(count):
            name = f"SEP{number:012X}.cnf.xml"
            signedfile.encode(lists.sign_file(content, signer, file_name=name, now=NOW))

    return per_second(count, work)


def sign_alone(signed: Sequence[tuple[bytes, bytes]], material: Material) -> float:
    key = material.signer.private_key
    assert isinstance(key, rsa.RSAPrivateKey)
    scheme, digest = padding.PKCS1v15(), hashes.SHA1()

    def work() -> None:
        for _, covered in signed:
            key.sign(covered, scheme, digest)

    return per_second(len(signed), work)


def openssl_speed() -> tuple[float, float] | None:
    """Signatures and verifications a second by `openssl speed`, or None when that can't be had."""
    program = shutil.which("openssl")
    if program is None:
        return None
    done = subprocess.run([program, "speed", "-seconds", "1", "rsa2048"], capture_output=True, text=True, timeout=60)
    figures = re.search(r"rsa\s+2048 bits\s+\S+s\s+\S+s\s+([0-9.]+)\s+([0-9.]+)", done.stdout)
    return None if figures is None else (float(figures[1]), float(figures[2]))


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0 unless something could not be measured at all."""
    parser = argparse.ArgumentParser(prog="python -m bench.trustlists", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default: 7)")
    parser.add_argument("--files", type=int, default=1000, help="distinct files verified in a round (default: 1000)")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    options = parser.parse_args(argv)

    rates, openssl = measure(options.rounds, options.files)
    if options.json:
        found = {name: statistics.median(rounds) for name, rounds in rates.items()}
        print(json.dumps(found | openssl, indent=2))
    else:
        report(rates, openssl)
    return 0


def measure(rounds: int, count: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Operations a second, each round's, by what was measured; and the medians of `openssl speed`."""
    materials = [cluster(nodes=2, tftp_nodes=2), cluster(nodes=4, tftp_nodes=3)]
    few = max(1, count // 4)  # signatures take so much longer
    work: dict[str, Callable[[], float]] = {}
    for material in materials:
        kind = f"ITL of {len(material.entries)} records"
        files = [material.build(number) for number in range(count)]
        headers = [trustlist.decode(data).header for data in files]
        signed = [(header.signature, header.signed_bytes(data)) for header, data in zip(headers, files, strict=True)]
        work[f"{kind}, {len(files[0])} bytes: parse and verify"] = partial(parse_and_verify, files, material)
        work[f"{kind}: bare RSA verification"] = partial(verify_alone, signed, material)
        work[f"{kind}: build and sign"] = partial(build_and_sign, few, material)
        work[f"{kind}: bare RSA signature"] = partial(sign_alone, signed[:few], material)
    configuration = configurations.build(
        Configuration(tuple(map(CallManagerMember, ("cm1", "cm2"))), tuple(map(TvsServer, ("cm1", "cm2"))))
    )
    work["configuration file: sign"] = partial(sign_configurations, few, configuration, materials[0].signer)
    rates: dict[str, list[float]] = {name: [] for name in work}
    speeds: list[tuple[float, float]] = []
    for _ in range(rounds):
        for name, run in work.items():
            rates[name].append(run())
        speed = openssl_speed()
        speeds += [speed] if speed is not None else []
    openssl = {}
    if speeds:
        openssl["openssl speed: sign"] = statistics.median(speed[0] for speed in speeds)
        openssl["openssl speed: verify"] = statistics.median(speed[1] for speed in speeds)
    return rates, openssl


def report(rates: dict[str, list[float]], openssl: dict[str, float]) -> None:
    """The figures, and what they mean against the goals."""
    medians = {name: statistics.median(rounds) for name, rounds in rates.items()}
    print("operations a second of one core, medians (lowest to highest round)")
    for name, rounds in rates.items():
        print(f"  {name:<52} {medians[name]:>8.0f}  ({min(rounds):.0f} to {max(rounds):.0f})")
    if openssl:
        for name, figure in openssl.items():
            print(f"  {name + ' (2048 bits, a ready digest)':<52} {figure:>8.0f}")
    else:
        print("  openssl speed skipped: no openssl here (Debian package openssl)")
    print("goals")
    for name, figure in medians.items():
        if name.endswith("parse and verify"):
            bare = ratio(rates, name, name.partition(",")[0] + ": bare RSA verification")
            told = f"{figure:.0f} a second, goal {GOAL_VERIFIED}; {bare:.0%} of the bare verification"
            print(f"  {verdict(figure >= GOAL_VERIFIED)} {name}: {told}")
        if name.endswith("build and sign"):
            bare = ratio(rates, name, name.replace("build and sign", "bare RSA signature"))
            scale = f"; {figure / openssl['openssl speed: sign']:.0%} of openssl speed" if openssl else ""
            told = f"{bare:.0%} of the bare signature, goal {GOAL_SIGNED:.0%}"
            print(f"  {verdict(bare >= GOAL_SIGNED)} {name}: {told}{scale}")


def ratio(rates: dict[str, list[float]], name: str, peer: str) -> float:
    """Median of the rounds' ratios: both of a round ran one after the other."""
    return statistics.median(ours / theirs for ours, theirs in zip(rates[name], rates[peer], strict=True))


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED "


if __name__ == "__main__":
    sys.exit(main())
