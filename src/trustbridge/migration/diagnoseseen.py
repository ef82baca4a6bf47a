"""What a diagnosis of one phone goes by: values of what was observed, and why the rest was not. No I/O.

`diagnosecollect` fills them in, `diagnose` judges them. What was not observed is None, and a `NotSeen` says why and
what would have to be opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from trustbridge.cucm.axl import LastSeen
from trustbridge.cucm.model import NodeInfo, PhoneInfo, PhoneStatus, RegistrationInfo
from trustbridge.cucm.phoneweb import PhonePages
from trustbridge.errors import DecodeError, InvalidCertificate, InvalidInput, SignatureRefused
from trustbridge.migration.campaignserved import Served
from trustbridge.migration.phonefacts import PhoneFacts
from trustbridge.migration.predictvalues import World
from trustbridge.migration.proofseen import Answer, ClusterSeen, ServedFile
from trustbridge.migration.proofvalues import Proof
from trustbridge.pki.certificate import Certificate
from trustbridge.pki.names import certificate_key, short_name
from trustbridge.storage.campaignrecords import CampaignRecord, JournalRecord, PhoneRecord
from trustbridge.trust import configuration as configurations
from trustbridge.trust.configuration import Configuration
from trustbridge.trust.lists import check_signature
from trustbridge.wire import signedfile

#: States in which a Unified CM serves a phone.
AT_WORK = (PhoneStatus.REGISTERED, PhoneStatus.PARTIALLY_REGISTERED)


@dataclass(frozen=True, slots=True)
class NotSeen:
    """Something that could not be looked at.

    Attributes:
        where: cluster, `cluster/node`, or the phone's page.
        what, why: in words.
        opening: what would have to be done to see it; "" where nobody knows.
        decides: whether what becomes of the phone depends on it.
    """

    where: str
    what: str
    why: str
    opening: str = ""
    decides: bool = False


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A phone's signed configuration file, as one TFTP node gives it to the phone. Made by `configuration_file`.

    Attributes:
        content: None where the node has no such file.
        configuration: None where there is none that can be read.
        signer: common name, as the file has it.
        problem: why phones can't use it; "" for nothing that is known.
        firmware: whether the node has the firmware that it names; None: none is named, or it was not looked for.
    """

    node: str
    name: str
    content: bytes | None = field(repr=False)
    configuration: Configuration | None = None
    signer: str = ""
    checked: bool = False
    problem: str = ""
    firmware: bool | None = None


def configuration_file(
    node: str, name: str, content: bytes | None, identities: Iterable[Certificate]
) -> ConfigurationFile:
    """Read and verify a file that was downloaded.

    Args:
        identities: certificates of the cluster that serves it.
    """
    if content is None:
        return ConfigurationFile(node, name, None)
    try:
        file = signedfile.decode(content)
    except DecodeError as error:
        return ConfigurationFile(node, name, content, problem=f"it is no signed file: {error.message}")
    header = file.header
    signer, problem, checked = short_name(header.signer_name), "", False
    if header.encrypted:
        return ConfigurationFile(node, name, content, signer=signer, problem="it is encrypted, and can't be read here")
    key = certificate_key(header.serial, header.ca_name)
    for certificate in identities:
        try:
            if certificate.key == key:
                check_signature(header, content, certificate)
                problem, checked = "", True
                break
        except (SignatureRefused, InvalidCertificate) as error:
            problem = error.message
    try:
        found = configurations.parse(file.content)
    except InvalidInput as error:
        return ConfigurationFile(node, name, content, None, signer, checked, problem or error.message)
    return ConfigurationFile(node, name, content, found, signer, checked, problem)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """What one cluster says of the phone.

    Attributes:
        heard: whether RisPort70 answered, for all of its nodes.
        registration: None where RisPort70 has not heard of the phone, or did not answer.
        told: whether the database answered; `device` is what it has.
        remembered: what the database remembers of earlier registrations, where that was asked.
        nodes: none where the cluster does not tell them.
        files: trust lists that its TFTP nodes serve.
        files_whole: whether every node's were had.
        configurations: what waits for the phone on each TFTP node that answered.
        waits: whether the database or a TFTP node knows the phone; None: not known.
        answered: whether anything of it answered.
    """

    name: str
    heard: bool = False
    registration: RegistrationInfo | None = None
    told: bool = False
    device: PhoneInfo | None = None
    remembered: LastSeen | None = None
    nodes: tuple[NodeInfo, ...] = ()
    addresses: frozenset[str] = frozenset()
    files: tuple[ServedFile, ...] = ()
    files_whole: bool = False
    configurations: tuple[ConfigurationFile, ...] = ()

    @property
    def registered(self) -> bool:
        """Whether it serves the phone, as far as it was heard."""
        return self.registration is not None and self.registration.status in AT_WORK

    @property
    def waits(self) -> bool | None:
        """Whether it knows the phone; None where nothing that was seen tells."""
        if self.device is not None or any(file.content is not None for file in self.configurations):
            return True
        return False if self.told else None

    @property
    def answered(self) -> bool:
        """Whether anything of it did."""
        return self.heard or self.told or bool(self.nodes or self.files or self.configurations or self.registration)

    @property
    def served(self) -> Served:
        """Its trust lists as phones show them."""
        itls = frozenset(_hashes(file.content for file in self.files if file.of_itl))
        ctls = frozenset(_hashes(file.content for file in self.files if not file.of_itl))
        return Served(itls, ctls or frozenset({""}), self.addresses)

    @property
    def configuration(self) -> Configuration | None:
        """The phone's configuration there, from the first node that has it."""
        return next((one.configuration for one in self.configurations if one.configuration is not None), None)

    def node_named(self, word: str) -> str:
        """A node by name, host name or address; the word itself where it is none."""
        plain = word.casefold()
        for node in self.nodes:
            if (
                plain in (node.name.casefold(), node.address.casefold())
                or plain.partition(".")[0] == node.name.casefold()
            ):
                return node.name
        return word


def _hashes(contents: Iterable[bytes]) -> Iterable[str]:
    for content in contents:
        for kind in ("md5", "sha1", "sha256"):  # models show one or another
            yield hashlib.new(kind, content, usedforsecurity=False).hexdigest().upper()


@dataclass(frozen=True, slots=True)
class MoveSeen:
    """What is known of a move of the phone from one cluster to another.

    Attributes:
        facts: of the phone, as a prediction takes them.
        arrival: its place in `world.arrivals`, or `NO_DEVICE`, or `NOT_SEEN`.
        world: all that answers the phone on its way; None where too little was seen to run its procedure.
        proof: what the proof makes of both clusters' trust.
        answers: of TVS, on both sides, about the signers of both clusters.
    """

    source: str
    destination: str
    facts: PhoneFacts
    arrival: int
    world: World | None = None
    proof: Proof | None = None
    clusters: tuple[ClusterSeen, ...] = ()
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True)
class CampaignSeen:
    """The phone in a campaign, with the end of its journal there, oldest entry first."""

    campaign: CampaignRecord
    phone: PhoneRecord
    journal: tuple[JournalRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class PhoneSeen:
    """All of it.

    Attributes:
        phone: `SEP` and the MAC address, in capitals.
        clusters: by name; those that were asked.
        address: IP address its page was looked for at; "" for none known.
        page: None where it was not read.
        page_closed: whether somebody answers at its address and shows nothing: its web access is off.
        moves: source and destination that are meant; several where nobody said which.
        campaigns: those that have it, the one that counts first.
        not_seen: what could not be looked at.
    """

    phone: str
    clusters: dict[str, ClusterView]
    address: str = ""
    page: PhonePages | None = None
    page_closed: bool = False
    moves: tuple[MoveSeen, ...] = ()
    campaigns: tuple[CampaignSeen, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()

    @property
    def holders(self) -> tuple[str, ...]:
        """Clusters whose trust lists it shows, and no other's."""
        if self.page is None:
            return ()
        return tuple(name for name, view in self.clusters.items() if view.files and view.served.are_on(self.page))

    @property
    def home(self) -> str:
        """The cluster that serves it; of several, the one it came to last. "" for none."""
        found = [view for view in self.clusters.values() if view.registered]
        return max(found, key=_since).name if found else ""


def _since(view: ClusterView) -> float:
    moment = None if view.registration is None else view.registration.since
    return -1.0 if moment is None else moment.timestamp()
