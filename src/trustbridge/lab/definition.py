"""What a lab consists of, read from one TOML file; without a file, the defaults make a good one.

Example:

    name = "rehearsal"

    [clusters.source]
    release = "11.5"
    security = "mixed"
    network = "127.10.1.0"

    [[clusters.source.nodes]]
    name = "src-pub"                # the first node is the publisher

    [[clusters.source.nodes]]
    name = "src-sub1"
    tftp = false

    [[phones]]
    count = 200
    model = "CP-8841"
    security = "encrypted"
    home = "source"
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from trustbridge.errors import SettingsError
from trustbridge.exchange.manifest import check_cluster_name
from trustbridge.lab.phonedetails import mode_in, names
from trustbridge.wire.signedheader import Digest

LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
#: Phones of a cluster, and nodes of one (a publisher and 20 more): the vendor's limits.
MAX_PHONES = 60_000
MAX_NODES = 21

#: Characters of a certificate's common name at most (X.520, ub-common-name).
MAX_COMMON_NAME = 64

HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62})$")]
#: What stands in DHCP's vendor class and in the device name a TVS is told.
ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,30})$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{value!r} has characters that can't be printed")
    return value


Words = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_printable)]


def _loopback(value: str) -> str:
    address = ipaddress.IPv4Address(value)
    if address not in LOOPBACK:
        raise ValueError(f"{value} is not in {LOOPBACK}: a lab stays on loopback")
    return str(address)


class NodeDefinition(_Strict):
    """A node. Without an address it takes the next one of its cluster's network."""

    name: HostName
    address: str | None = None
    tftp: bool = True
    callmanager: bool = True

    _on_loopback = field_validator("address")(lambda value: None if value is None else _loopback(value))


class GroupDefinition(_Strict):
    """A Unified CM group: nodes in order of priority. Phones of the group register with them and ask their TVS."""

    name: Words
    members: Annotated[tuple[str, ...], Field(min_length=1, max_length=5)]

    @field_validator("members")
    @classmethod
    def _once(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(members)) != len(members):
            raise ValueError("a node is named twice")
        return members


class ObjectsDefinition(_Strict):
    """What phones of a cluster can refer to by name, besides what every cluster has.

    Attributes:
        security_profiles: a name tells the mode: `Non-Secure`, `Authenticated` or `Encrypted` is a word in it.
    """

    locations: tuple[Words, ...] = ()
    partitions: tuple[Words, ...] = ()
    calling_search_spaces: tuple[Words, ...] = ()
    templates: tuple[Words, ...] = ()
    security_profiles: tuple[Words, ...] = ()
    common_profiles: tuple[Words, ...] = ()
    softkey_templates: tuple[Words, ...] = ()
    users: tuple[Words, ...] = ()

    @field_validator("security_profiles")
    @classmethod
    def _modes(cls, profiles: tuple[str, ...]) -> tuple[str, ...]:
        for profile in profiles:
            if mode_in(profile) is None:
                raise ValueError(f"{profile} tells no security mode")
        return profiles


class ClusterDefinition(_Strict):
    """A cluster.

    Attributes:
        release: decides who signs the trust lists (CallManager up to 11.5, ITLRecovery from 12.0).
        network: nodes without an address of their own follow this one: 127.10.1.0 gives 127.10.1.1 and on.
        ca_signed: whether an authority signs CallManager and tomcat; otherwise they sign themselves.
        tftp_digest: enterprise parameter "TFTP File Signature Algorithm".
        auto_registration: whether phones nobody created may register.
        minimum_tls: "1.0" lets old phones ask this cluster's TVS, and weakens it.
        fips: what nodes say of FIPS 140 mode; nothing else depends on it.
        knows: whose phones are in its database at first: those of every cluster, or its own.
    """

    release: Annotated[str, Field(pattern=r"^\d{1,2}(\.\d+)*$")] = "14"
    security: Literal["non-secure", "mixed"] = "non-secure"
    prepare_for_rollback: bool = False
    network: str
    domain: Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9.-]{0,62})?$")] = "lab.example"
    organisation: Words = "Example"
    key: Literal["rsa2048", "rsa4096"] = "rsa2048"
    ca_signed: bool = False
    tftp_digest: Literal["sha1", "sha512"] = "sha1"
    auto_registration: bool = False
    minimum_tls: Literal["1.0", "1.2"] = "1.2"
    fips: bool = False
    knows: Literal["all", "own"] = "all"
    objects: ObjectsDefinition = ObjectsDefinition()
    nodes: Annotated[tuple[NodeDefinition, ...], Field(min_length=1, max_length=MAX_NODES)]
    groups: tuple[GroupDefinition, ...] = ()

    _on_loopback = field_validator("network")(_loopback)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [node.name for node in self.nodes]
        if len(set(names)) != len(names):
            raise ValueError("two nodes of one name")
        if len({group.name for group in self.groups}) != len(self.groups):
            raise ValueError("two groups of one name")
        for name in names:
            suffix = f".{self.domain}" if self.domain else ""
            # The longest common name of the node's certificates.
            longest = f"ITLRECOVERY_{name}{suffix}" if name == self.publisher else f"{name}-EC{suffix}"
            if len(longest) > MAX_COMMON_NAME:
                raise ValueError(f"{name}{suffix} is too long: {longest} must fit {MAX_COMMON_NAME} characters")
        for group in self.groups:
            for member in group.members:
                if member not in names:
                    raise ValueError(f"group {group.name} names {member}, which is no node of the cluster")
                if not self.node(member).callmanager:
                    raise ValueError(f"group {group.name} names {member}, which runs no Unified CM")
        if not any(node.tftp for node in self.nodes):
            raise ValueError("no node runs TFTP")
        if not any(node.callmanager for node in self.nodes):
            raise ValueError("no node runs Unified CM")
        return self

    def node(self, name: str) -> NodeDefinition:
        """The node of this name, which exists."""
        return next(node for node in self.nodes if node.name == name)

    @property
    def publisher(self) -> str:
        """Name of the publisher."""
        return self.nodes[0].name

    @property
    def digest(self) -> Digest:
        """Digest of the signatures on its files."""
        return Digest.SHA512 if self.tftp_digest == "sha512" else Digest.SHA1

    @property
    def signs_with_itl_recovery(self) -> bool:
        """From 12.0 on, ITLRecovery signs ITL and CTL."""
        return int(self.release.split(".")[0]) >= 12

    @property
    def unified_cm_groups(self) -> tuple[GroupDefinition, ...]:
        """The groups; without any, one with the subscribers first and the publisher last, at most three."""
        if self.groups:
            return self.groups
        running = [node.name for node in self.nodes if node.callmanager]
        ordered = [*(name for name in running if name != self.publisher), self.publisher]
        return (GroupDefinition(name="Default", members=tuple(name for name in ordered if name in running)[:3]),)

    def address(self, name: str) -> str:
        """Address of a node."""
        for place, node in enumerate(self.nodes, start=1):
            if node.name == name:
                return node.address or str(ipaddress.IPv4Address(self.network) + place)
        raise KeyError(name)

    def tftp_addresses(self) -> tuple[str, ...]:
        """TFTP servers as option 150 would name them: subscribers first, two at the most."""
        serving = [node.name for node in self.nodes if node.tftp]
        ordered = [*(name for name in serving if name != self.publisher), self.publisher]
        return tuple(self.address(name) for name in ordered if name in serving)[:2]


class PhonesDefinition(_Strict):
    """A number of like phones.

    Attributes:
        home: the cluster they belong to at first.
        security: device security mode; authenticated and encrypted need a home in mixed mode.
        group: Unified CM group of the home cluster; the first one when absent.
        location, css, partition: as its home cluster has them.
        first_number: the directory number of the first of them, and each next one is one more; without it, no lines.
    """

    count: Annotated[int, Field(ge=1, le=MAX_PHONES)] = 1
    model: ModelName = "CP-8841"
    security: Literal["non-secure", "authenticated", "encrypted"] = "non-secure"
    home: str = "source"
    group: str | None = None
    location: Words | None = None
    css: Words | None = None
    partition: Words | None = None
    first_number: Annotated[int, Field(ge=1, le=10**15)] | None = None


class NetworkDefinition(_Strict):
    """Addresses of what is not a node.

    Attributes:
        phones: phones take addresses from here on: 127.30.0.0 gives 127.30.0.10 and on.
        dhcp, dhcp_port: where phones ask for option 150. With a port, somebody else serves there, such as a Kea that is
            part of the rehearsal: the lab starts no DHCP server of its own. Phones ask through a relay: themselves.
        port_shift: added to every well-known port; "auto" is 0 where all can be bound, else 20000.
    """

    phones: str = "127.30.0.0"
    dhcp: str = "127.30.0.1"
    dhcp_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    sftp: str = "127.40.1.1"
    sftp_port: Annotated[int, Field(ge=1, le=65535)] = 2222
    port_shift: Annotated[int, Field(ge=0, le=30000)] | Literal["auto"] = "auto"

    _on_loopback = field_validator("phones", "dhcp", "sftp")(_loopback)


class LabDefinition(_Strict):
    """A whole lab."""

    name: HostName = "lab"
    network: NetworkDefinition = NetworkDefinition()
    clusters: Annotated[dict[str, ClusterDefinition], Field(min_length=1)]
    phones: tuple[PhonesDefinition, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        taken: dict[str, str] = {self.network.dhcp: "the DHCP server", self.network.sftp: "the SFTP server"}
        for name, cluster in self.clusters.items():
            try:
                check_cluster_name(name)
            except SettingsError as error:
                raise ValueError(error.message) from None
            for node in cluster.nodes:
                address = _loopback(cluster.address(node.name))
                if address in taken:
                    raise ValueError(f"{node.name} and {taken[address]} share the address {address}")
                taken[address] = node.name
        for phones in self.phones:
            home = self.clusters.get(phones.home)
            if home is None:
                raise ValueError(f"phones belong to cluster {phones.home}, which does not exist")
            if phones.security != "non-secure" and home.security != "mixed":
                raise ValueError(f"{phones.security} phones need mixed mode, and {phones.home} is non-secure")
            if phones.group is not None and phones.group not in {group.name for group in home.unified_cm_groups}:
                raise ValueError(f"phones belong to group {phones.group}, which {phones.home} does not have")
            for kind, wanted in (
                ("location", phones.location),
                ("css", phones.css),
                ("routePartition", phones.partition),
            ):
                if wanted is not None and wanted not in names(home, kind):
                    raise ValueError(f"phones refer to {wanted}, which is no {kind} of {phones.home}")
        for name in self.clusters:
            count = sum(phones.count for phones in self.phones if phones.home == name)
            if count > MAX_PHONES:
                raise ValueError(f"{count} phones belong to {name}: a cluster has at most {MAX_PHONES}")
        self._phones_have_room(taken)
        return self

    def _phones_have_room(self, taken: dict[str, str]) -> None:
        count = sum(phones.count for phones in self.phones)
        if not count:
            return
        first = int(ipaddress.IPv4Address(self.network.phones)) + FIRST_PHONE
        last = first + count - 1
        if last >= int(LOOPBACK.broadcast_address):
            raise ValueError(f"{count} phones from {self.network.phones} on do not fit into {LOOPBACK}")
        for address, name in taken.items():
            if first <= int(ipaddress.IPv4Address(address)) <= last:
                raise ValueError(f"{name} at {address} lies among the phones' addresses")


#: Phones begin this far behind the first address of their range.
FIRST_PHONE = 10


def load(path: Path) -> LabDefinition:
    """Read a lab's definition.

    Raises:
        SettingsError: the file can't be read, is not TOML, or says something impossible; each fault is named.
    """
    try:
        return LabDefinition.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise SettingsError(f"can't read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'the lab'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )
        raise SettingsError(f"{path}: {faults}", "docs/lab.md explains every entry.") from None


#: Models of the default lab's phones, in turn.
DEFAULT_MODELS = ("CP-8841", "CP-8861", "CP-7841", "CP-8851", "CP-7821")


def default(
    *, phones: int = 50, security: Literal["non-secure", "mixed", "secure"] = "mixed", name: str = "lab"
) -> LabDefinition:
    """Two clusters of two nodes each, and phones at the source.

    Args:
        security: `mixed` makes every third phone encrypted, `secure` all of them, `non-secure` none (and both
            clusters non-secure, as in the seed's first process).
    """
    mode: Literal["non-secure", "mixed"] = "non-secure" if security == "non-secure" else "mixed"

    def cluster(prefix: str, release: str, network: str, organisation: str) -> ClusterDefinition:
        return ClusterDefinition(
            release=release,
            security=mode,
            network=network,
            organisation=organisation,
            domain=f"{prefix}.example",
            nodes=(NodeDefinition(name=f"{prefix}-pub"), NodeDefinition(name=f"{prefix}-sub1")),
        )

    encrypted = {"non-secure": 0, "mixed": phones // 3, "secure": phones}[security]
    kinds: list[PhonesDefinition] = []
    for protection, count in (("non-secure", phones - encrypted), ("encrypted", encrypted)):
        for place, model in enumerate(DEFAULT_MODELS):
            share = count // len(DEFAULT_MODELS) + (place < count % len(DEFAULT_MODELS))
            if share:
                kinds.append(
                    PhonesDefinition.model_validate(
                        {"count": share, "model": model, "security": protection, "home": "source"}
                    )
                )
    return LabDefinition(
        name=name,
        clusters={
            "source": cluster("src", "11.5", "127.10.1.0", "Source"),
            "destination": cluster("dst", "14", "127.20.1.0", "Destination"),
        },
        phones=tuple(kinds),
    )
