"""AXL's answers, held against the vendor's schemas, over a lab cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from lxml import etree
from tests.lab.prepared import NOW, Prepared, clock
from tests.services.soapclient import check, keys_read_once, texts

from trustbridge.lab.axlbackend import AxlData
from trustbridge.lab.axlphones import identifier
from trustbridge.lab.cluster import Cluster, Device
from trustbridge.lab.definition import ObjectsDefinition
from trustbridge.lab.ports import Ports
from trustbridge.lab.registrations import Registrations
from trustbridge.pki.units import Store
from trustbridge.services.axl import NAMESPACE, AxlLimits, answer
from trustbridge.services.registrar import Registration
from trustbridge.services.soap import Busy, SoapFault, local_name

PHONE = "SEP001B0C000001"
DEVICES = [
    Device(PHONE, "CP-8841", 1, "Default", "Reception"),
    Device("SEP001B0C000002", "CP-7821", 3, "Default", load="sip78xx.12-5-1"),
    Device("SEP00AABBCCDDEE", "CP-7961", 2, "Default"),
]
RELEASES = {"src": "11.5", "dst": "12.5"}


class Network:
    """A subnet whose server is the cluster."""

    def __init__(self) -> None:
        self.option150: Sequence[str] = ("127.61.0.2", "127.61.0.1")

    def set_option150(self, servers: Sequence[str]) -> None:
        self.option150 = tuple(servers)


class World:
    """A cluster, and AXL over it."""

    def __init__(self, cluster: Cluster, version: str) -> None:
        self.cluster = cluster
        self.version = version
        self.registrations = Registrations(cluster)
        self.network = Network()
        self.resets: list[tuple[str, str]] = []
        self.limits = AxlLimits()
        self.axl = AxlData(
            cluster,
            self.registrations,
            lambda name, how: self.resets.append((name, how)),
            (self.network, "127.63.0.1", "127.63.0.0"),
        )

    def ask(self, operation: str, body: str, *, version: str | None = None, attributes: str = "") -> etree._Element:
        namespace = NAMESPACE + (version or self.version)
        text = f'<a:{operation} xmlns:a="{namespace}" {attributes}>{body}</a:{operation}>'
        request = etree.fromstring(text)
        found = answer(request, self.axl, self.limits)
        check(version or self.version, found)
        assert local_name(found) == f"{operation}Response"
        return found

    def fault(self, operation: str, body: str, **options: str) -> tuple[int | None, str]:
        with pytest.raises(SoapFault) as caught:
            self.ask(operation, body, **options)
        detail = caught.value.detail
        if detail is None:
            return None, caught.value.text
        assert detail.findtext("axlmessage") == caught.value.text
        assert detail.findtext("request") == operation
        return int(detail.findtext("axlcode") or 0), caught.value.text

    def register(self, name: str, expires: int = 120) -> None:
        peer = ("127.63.0.10", 5060)
        self.registrations.judge("src-sub1", Registration(name, "683", peer, peer, expires, False, ""))


@pytest.fixture(scope="module", autouse=True)
def _keys_read_once() -> Iterator[None]:
    with keys_read_once():
        yield


@pytest.fixture
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.once(tmp_path_factory)


@pytest.fixture(params=["src", "dst"])
def world(request: pytest.FixtureRequest, prepared: Prepared, tmp_path: Path) -> World:
    cluster = prepared.cluster(tmp_path / "cluster", request.param, release=RELEASES[request.param])
    cluster.add_devices(DEVICES)
    return World(cluster, RELEASES[request.param])


@pytest.fixture
def source(prepared: Prepared, tmp_path: Path) -> World:
    cluster = prepared.cluster(tmp_path / "cluster", "src")
    cluster.add_devices(DEVICES)
    return World(cluster, "11.5")


ALL = "<searchCriteria><name>%</name></searchCriteria>"


def test_every_node_tells_the_release(world: World) -> None:
    (found,) = texts(world.ask("getCCMVersion", ""), "version")
    assert found.startswith(world.version)
    node = world.cluster.publisher
    assert texts(world.ask("getCCMVersion", f"<processNodeName>{node}</processNodeName>"), "version") == [found]
    assert world.fault("getCCMVersion", "<processNodeName>x</processNodeName>")[0] == 5007


def test_nodes_are_listed_behind_the_row_for_the_whole_cluster(world: World) -> None:
    tags = "<returnedTags><name/><description/><nodeUsage/><processNodeRole/></returnedTags>"
    found = world.ask("listProcessNode", ALL + tags)
    nodes = [node.name for node in world.cluster.definition.nodes]
    assert texts(found, "name") == ["EnterpriseWideData", *nodes]
    assert texts(found, "nodeUsage") == ["Publisher", "Subscriber"]


def test_services_are_listed_by_node(world: World) -> None:
    tags = "<returnedTags><processNodeName/><service/><enable/><isActive/></returnedTags>"
    criteria = f"<searchCriteria><processNodeName>{world.cluster.publisher}</processNodeName></searchCriteria>"
    found = world.ask("listProcessNodeService", criteria + tags)
    assert texts(found, "service") == ["Cisco CallManager", "Cisco Tftp", "Cisco Trust Verification Service"]
    assert set(texts(found, "isActive")) == {"true"}


def test_groups_have_their_members_in_order(world: World) -> None:
    assert texts(world.ask("listCallManagerGroup", ALL + "<returnedTags><name/></returnedTags>"), "name") == ["Default"]
    found = world.ask("getCallManagerGroup", "<name>default</name>")
    assert texts(found, "priority") == ["1", "2"]
    pub, sub = (node.name for node in world.cluster.definition.nodes)
    assert texts(found, "callManagerName") == [f"CM_{sub}", f"CM_{pub}"]
    assert world.fault("getCallManagerGroup", "<name>x</name>") == (
        5007,
        "Item not valid: The specified Call Manager Group was not found",
    )


PHONE_TAGS = (
    "<returnedTags><name/><description/><product/><model/><class/><protocol/><protocolSide/><callingSearchSpaceName/>"
    "<devicePoolName/><commonPhoneConfigName/><locationName/><loadInformation/><securityProfileName/></returnedTags>"
)


def test_phones_are_listed_with_all_that_the_lab_knows(world: World) -> None:
    found = world.ask("listPhone", ALL + PHONE_TAGS)
    assert texts(found, "name") == [device.name for device in DEVICES]
    assert texts(found, "product") == ["Cisco 8841", "Cisco 7821", "Cisco 7961"]
    assert texts(found, "description") == ["Reception", "", ""]
    assert texts(found, "loadInformation") == ["", "sip78xx.12-5-1", ""]
    assert [text.split(" - ")[1] for text in texts(found, "securityProfileName")] == [
        "Standard SIP Non-Secure Profile",
        "Standard SIP Encrypted Profile",
        "Standard SIP Authenticated Profile",
    ]


def test_only_what_was_asked_for_is_returned(world: World) -> None:
    found = world.ask("listPhone", ALL + "<returnedTags><name/></returnedTags>")
    assert {local_name(one) for one in found.iter()} == {"listPhoneResponse", "return", "phone", "name"}
    assert world.ask("listPhone", ALL + "<returnedTags/>").findall("return/phone/*") == []


@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        ("<name>SEP001B0C%</name>", [0, 1]),
        ("<name>sep001b0c00000_</name>", [0, 1]),
        ("<name>SEP001B0C000001</name>", [0]),
        ("<name>%</name><description>Rec%</description>", [0]),
        ("<securityProfileName>%Encrypted%</securityProfileName>", [1]),
        ("<devicePoolName>Default</devicePoolName><protocol>SIP</protocol>", [0, 1, 2]),
        ("<name>.*</name>", []),
        ("<name>nobody</name>", []),
    ],
)
def test_criteria_are_patterns_of_sql(source: World, criteria: str, numbers: list[int]) -> None:
    found = source.ask("listPhone", f"<searchCriteria>{criteria}</searchCriteria><returnedTags><name/></returnedTags>")
    assert texts(found, "name") == [DEVICES[number].name for number in numbers]


@pytest.mark.parametrize(
    ("skip", "first", "numbers"), [(0, 2, [0, 1]), (2, 2, [2]), (1, 1, [1]), (3, 5, []), (0, 0, [])]
)
def test_pages_follow_one_another(source: World, skip: int, first: int, numbers: list[int]) -> None:
    body = f"{ALL}<returnedTags><name/></returnedTags><skip>{skip}</skip><first>{first}</first>"
    assert texts(source.ask("listPhone", body), "name") == [DEVICES[number].name for number in numbers]


def test_too_many_rows_are_refused_with_a_hint_at_how_many_fit(source: World) -> None:
    source.limits.max_rows = 2
    body = ALL + "<returnedTags><name/></returnedTags>"
    text = "Query request too large. Total rows matched: 3 rows. Suggestive Row Fetch: less than 3 rows"
    assert source.fault("listPhone", body)[1] == text
    assert source.fault("listPhone", f"{body}<first>3</first>")[1] == text
    assert len(texts(source.ask("listPhone", f"{body}<first>2</first>"), "name")) == 2


def test_an_answer_has_only_so_many_bytes(source: World) -> None:
    body = ALL + PHONE_TAGS
    whole = len(etree.tostring(source.ask("listPhone", body)))
    source.limits.max_bytes = whole
    source.ask("listPhone", body)
    source.limits.max_bytes = whole - 1
    text = source.fault("listPhone", body)[1]
    bound = int(re.findall(r"less than (\d+) rows", text)[0])
    assert bound > 1
    assert len(texts(source.ask("listPhone", f"{body}<first>{bound - 1}</first>"), "name")) == bound - 1


def test_a_busy_service_turns_away_so_many_requests(source: World) -> None:
    source.limits.busy = 2
    for _ in range(2):
        with pytest.raises(Busy):
            source.ask("getCCMVersion", "")
    assert texts(source.ask("getCCMVersion", ""), "version")


def test_a_phone_is_found_by_name_in_either_case_and_by_its_identifier(world: World) -> None:
    for name in (
        f"<name>{PHONE}</name>",
        f"<name>{PHONE.lower()}</name>",
        f"<uuid>{identifier('device', PHONE)}</uuid>",
    ):
        found = world.ask("getPhone", name)
        assert texts(found, "name") == [PHONE]
        assert texts(found, "devicePoolName") == ["Default"]
    assert texts(world.ask("getPhone", f"<name>{PHONE}</name>{PHONE_TAGS}"), "model") == ["Cisco 8841"]
    for name in ("<name>SEPFFFFFFFFFFFF</name>", f"<uuid>{identifier('device', 'x')}</uuid>"):
        assert world.fault("getPhone", name) == (5007, "Item not valid: The specified Phone was not found")


NEW = "SEP0123456789AB"
ADDED = (
    f"<phone><name>{NEW}</name><description>New</description><product>Cisco 8851</product><class>Phone</class>"
    "<protocol>SIP</protocol><protocolSide>User</protocolSide><devicePoolName>Default</devicePoolName>"
    "<commonPhoneConfigName>Standard Common Phone Profile</commonPhoneConfigName><locationName>Hub_None</locationName>"
    "<useTrustedRelayPoint>Default</useTrustedRelayPoint>"
    "<securityProfileName>Cisco 8851 - Standard SIP Encrypted Profile</securityProfileName>"
    "<phoneTemplateName>Standard 8851 SIP</phoneTemplateName><primaryPhoneName/>"
    "<builtInBridgeStatus>Default</builtInBridgeStatus><packetCaptureMode>None</packetCaptureMode>"
    "<certificateOperation>No Pending Operation</certificateOperation>"
    "<deviceMobilityMode>Default</deviceMobilityMode></phone>"
)


def test_a_phone_is_added_once(world: World) -> None:
    found = world.ask("addPhone", ADDED)
    assert found.findtext("return") == identifier("device", NEW)
    assert world.cluster.devices[NEW] == Device(NEW, "CP-8851", 3, "Default", "New")
    assert texts(world.ask("getPhone", f"<name>{NEW}</name>"), "description") == ["New"]
    with pytest.raises(SoapFault, match="duplicate value"):
        world.ask("addPhone", ADDED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (NEW, "desk"),
        ("<devicePoolName>Default<", "<devicePoolName>Elsewhere<"),
        ("Standard SIP Encrypted Profile", "My Profile"),
        ("Cisco 8851</product>", "</product>"),
    ],
)
def test_a_phone_that_can_not_be_is_not_added(source: World, before: str, after: str) -> None:
    with pytest.raises(SoapFault):
        source.ask("addPhone", ADDED.replace(before, after))
    assert list(source.cluster.devices) == [device.name for device in DEVICES]


OBJECTS = ObjectsDefinition(
    locations=("Warsaw",),
    partitions=("Internal",),
    calling_search_spaces=("National",),
    templates=("Reception 8851",),
    security_profiles=("Desk Encrypted profile",),
    users=("anna",),
)
NUMBER = (
    "<line><pattern>4001</pattern><description>Desk</description><usage>Device</usage>"
    "<routePartitionName>Internal</routePartitionName><alertingName>Anna</alertingName>"
    "<shareLineAppearanceCssName>National</shareLineAppearanceCssName></line>"
)
DETAILED = (
    ADDED.replace("<locationName>Hub_None", "<locationName>Warsaw")
    .replace("Cisco 8851 - Standard SIP Encrypted Profile", "Desk Encrypted profile")
    .replace("Standard 8851 SIP", "Reception 8851")
    .replace("<devicePoolName>", "<callingSearchSpaceName>National</callingSearchSpaceName><devicePoolName>")
    .replace(
        "<phoneTemplateName>",
        "<lines><line><index>1</index><label>Anna</label><display>Anna K.</display><dirn><pattern>4001</pattern>"
        "<routePartitionName>Internal</routePartitionName></dirn><e164Mask>4822123XXXX</e164Mask></line></lines>"
        "<phoneTemplateName>",
    )
)


@pytest.fixture(params=["src", "dst"])
def furnished(request: pytest.FixtureRequest, prepared: Prepared, tmp_path: Path) -> World:
    """A cluster with more than the usual objects."""
    release = RELEASES[request.param]
    cluster = prepared.cluster(tmp_path / "cluster", request.param, release=release, objects=OBJECTS)
    cluster.add_devices(DEVICES)
    return World(cluster, release)


def test_a_phone_with_lines_is_added_shown_kept_and_removed(furnished: World, tmp_path: Path) -> None:
    assert furnished.fault("addPhone", DETAILED) == (
        5007,
        "Item not valid: The specified Directory Number was not found",
    )
    furnished.ask("addLine", NUMBER)
    assert furnished.fault("addLine", NUMBER)[0] == -239
    furnished.ask("addPhone", DETAILED)
    again = World(
        Cluster("again", furnished.cluster.definition, tmp_path / "cluster", Ports(0), clock), furnished.version
    )
    for world in (furnished, again):  # it is on disk
        phone = world.ask("getPhone", f"<name>{NEW}</name>")
        assert texts(phone, "locationName") == ["Warsaw"]
        assert texts(phone, "callingSearchSpaceName") == ["National"]
        assert texts(phone, "securityProfileName") == ["Desk Encrypted profile"]
        assert texts(phone, "phoneTemplateName") == ["Reception 8851"]
        assert texts(phone, "pattern") == ["4001"]
        assert (texts(phone, "display"), texts(phone, "e164Mask")) == (["Anna K."], ["4822123XXXX"])
        assert world.cluster.devices[NEW].security_mode == 3
        named = "<pattern>4001</pattern><routePartitionName>Internal</routePartitionName>"
        line = world.ask("getLine", named)
        assert (texts(line, "alertingName"), texts(line, "description")) == (["Anna"], ["Desk"])
        assert world.fault("getLine", "<pattern>4001</pattern>")[0] == 5007
    query = (
        "select d.name, n.dnorpattern as dn, l.name as loc from device d join devicenumplanmap m on m.fkdevice=d.pkid "
        "join numplan n on m.fknumplan=n.pkid join location l on d.fklocation=l.pkid "
        "join phonetemplate t on t.pkid=d.fkphonetemplate join securityprofile s on s.pkid=d.fksecurityprofile "
        "join routepartition r on r.pkid=n.fkroutepartition where r.name='Internal'"
    )
    rows = furnished.ask("executeSQLQuery", f"<sql>{query}</sql>")
    assert [texts(rows, column) for column in ("name", "dn", "loc")] == [[NEW], ["4001"], ["Warsaw"]]
    furnished.ask("removePhone", f"<name>{NEW}</name>")
    assert NEW not in furnished.cluster.devices
    assert furnished.cluster.details.differing() == {}
    assert furnished.fault("removePhone", f"<name>{NEW}</name>")[0] == 5007
    assert furnished.ask("getLine", named) is not None
    furnished.ask("addPhone", ADDED)  # nothing of the one that was removed comes back
    assert texts(furnished.ask("getPhone", f"<name>{NEW}</name>"), "locationName") == ["Hub_None"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("<locationName>Warsaw", "<locationName>Krakow", "Location"),
        ("Reception 8851", "Reception 8861", "Phone Button Template"),
        ("Desk Encrypted profile", "Desk Encrypted", "Phone Security Profile"),
        (">National<", ">Local<", "Calling Search Space"),
        ("Standard Common Phone Profile", "Other", "Common Phone Profile"),
        ("<phoneTemplateName>", "<phoneTemplateName>x", "Phone Button Template"),
    ],
)
def test_what_a_phone_refers_to_has_to_be_there(furnished: World, before: str, after: str, words: str) -> None:
    furnished.ask("addLine", NUMBER)
    assert furnished.fault("addPhone", DETAILED.replace(before, after)) == (
        5007,
        f"Item not valid: The specified {words} was not found",
    )
    assert NEW not in furnished.cluster.devices


@pytest.mark.parametrize(
    ("kind", "tag", "some"),
    [
        ("DevicePool", "name", {"Default"}),
        ("PhoneButtonTemplate", "name", {"Standard 8841 SIP", "Standard 7961 SIP", "Reception 8851"}),
        ("PhoneSecurityProfile", "name", {"Cisco 8841 - Standard SIP Encrypted Profile", "Desk Encrypted profile"}),
        ("Location", "name", {"Hub_None", "Warsaw"}),
        ("CommonPhoneConfig", "name", {"Standard Common Phone Profile"}),
        ("RoutePartition", "name", {"Internal"}),
        ("Css", "name", {"National"}),
        ("SoftKeyTemplate", "name", {"Standard User"}),
        ("SipProfile", "name", {"Standard SIP Profile"}),
        ("User", "userid", {"anna"}),
        ("Line", "pattern", {"4001"}),
    ],
)
def test_what_phones_can_refer_to_is_listed(furnished: World, kind: str, tag: str, some: set[str]) -> None:
    furnished.ask("addLine", NUMBER)
    body = f"<searchCriteria><{tag}>%</{tag}></searchCriteria><returnedTags><{tag}/></returnedTags>"
    assert set(texts(furnished.ask(f"list{kind}", body), tag)) >= some


def test_a_security_profile_tells_its_mode(furnished: World) -> None:
    body = (
        "<searchCriteria><name>Desk%</name></searchCriteria><returnedTags><name/><deviceSecurityMode/></returnedTags>"
    )
    assert texts(furnished.ask("listPhoneSecurityProfile", body), "deviceSecurityMode") == ["Encrypted"]


def test_a_phone_is_changed_in_what_the_lab_keeps_and_in_nothing_else(world: World) -> None:
    changes = (
        "<description>Moved</description><loadInformation>sip88xx</loadInformation>"
        "<securityProfileName>Cisco 8841 - Standard SIP Authenticated Profile</securityProfileName>"
    )
    found = world.ask("updatePhone", f"<name>{PHONE}</name>{changes}")
    assert found.findtext("return") == identifier("device", PHONE)
    assert world.cluster.devices[PHONE] == Device(PHONE, "CP-8841", 2, "Default", "Moved", "sip88xx")
    code, text = world.fault("updatePhone", f"<name>{PHONE}</name><networkLocation>OnNet</networkLocation>")
    assert (code, "networkLocation" in text) == (-1, True)
    assert world.fault("updatePhone", "<name>SEPFFFFFFFFFFFF</name>")[0] == 5007


@pytest.mark.parametrize(
    ("how", "meant"),
    [
        ("<deviceResetType>Reset</deviceResetType>", "Reset"),
        ("<deviceResetType>Apply Configuration</deviceResetType>", "Apply Configuration"),
        ("<isHardReset>true</isHardReset>", "Reset"),
        ("<isHardReset>false</isHardReset>", "Restart"),
    ],
)
def test_a_reset_reaches_the_phone_it_names(world: World, how: str, meant: str) -> None:
    found = world.ask("doDeviceReset", f"<deviceName>{PHONE}</deviceName>{how}")
    assert found.findtext("return") == identifier("device", PHONE)
    assert world.resets == [(PHONE, meant)]


def test_a_reset_that_makes_no_sense_reaches_nobody(source: World) -> None:
    how = "<deviceResetType>Reset</deviceResetType>"
    assert source.fault("doDeviceReset", f"<deviceName>SEPFFFFFFFFFFFF</deviceName>{how}")[0] == 5007
    assert source.fault("doDeviceReset", f"<deviceName>{PHONE}</deviceName>")[0] is None
    assert (
        source.fault("doDeviceReset", f"<deviceName>{PHONE}</deviceName><deviceResetType>x</deviceResetType>")[0]
        is None
    )
    assert source.resets == []


TVS_LIST = "<searchCriteria><subjectName>%</subjectName></searchCriteria>"
TVS_TAGS = "<returnedTags><subjectName/><issuerName/><serialNumber/><timeToLive/></returnedTags>"


def test_what_tvs_vouches_for_is_listed_and_got_with_roles_and_stores(world: World) -> None:
    index = world.cluster.vouch_index(world.cluster.publisher)
    found = world.ask("listTvsCertificate", TVS_LIST + TVS_TAGS)
    assert sorted(texts(found, "serialNumber")) == sorted(f"{one.certificate.serial:x}" for one in index)
    assert set(texts(found, "timeToLive")) == {"86400"}
    own = world.cluster.file_signer(world.cluster.publisher).certificate
    one = world.ask(
        "getTvsCertificate", f"<issuerName>{own.issuer}</issuerName><serialNumber>{own.serial:x}</serialNumber>"
    )
    assert texts(one, "subjectName") == [own.subject]
    assert texts(one, "roleName") == ["SAST", "TFTP"]
    assert sorted(texts(one, "serviceName")) == ["CallManager-trust", "Phone-SAST-trust"]
    nobody = f"<issuerName>{own.issuer}</issuerName><serialNumber>1</serialNumber>"
    assert world.fault("getTvsCertificate", nobody)[0] == 5007


def test_what_is_uploaded_is_what_tvs_knows_next(source: World, prepared: Prepared, tmp_path: Path) -> None:
    other = prepared.cluster(tmp_path / "other", "dst").file_signer("dst-pub").certificate
    before = len(texts(source.ask("listTvsCertificate", TVS_LIST + TVS_TAGS), "subjectName"))
    source.cluster.upload_trust(Store.PHONE_SAST_TRUST, other)
    after = texts(source.ask("listTvsCertificate", TVS_LIST + TVS_TAGS), "subjectName")
    assert (len(after), other.subject in after) == (before + 1, True)


def test_phones_that_were_there_are_remembered_with_when_they_were_seen(source: World) -> None:
    tags = "<returnedTags><device/><lastKnownIpAddress/><lastKnownUcm/><lastSeen/></returnedTags>"
    every = "<searchCriteria><device>%</device></searchCriteria>"
    assert texts(source.ask("listRegistrationDynamic", every + tags), "device") == []
    source.register(PHONE)
    source.register(PHONE, 0)
    source.cluster.clock = lambda: NOW + timedelta(days=1)
    found = source.ask("listRegistrationDynamic", every + tags)
    assert texts(found, "device") == [PHONE]
    assert texts(found, "lastKnownUcm") == ["src-sub1"]
    assert texts(found, "lastKnownIpAddress") == ["127.63.0.10"]
    assert texts(found, "lastSeen") == [str(int(NOW.timestamp()))]


SUBNETS = "<searchCriteria><subnetIpAddress>%</subnetIpAddress></searchCriteria>"
SUBNET = "<dhcpServerName>127.63.0.1</dhcpServerName><subnetIpAddress>127.63.0.0</subnetIpAddress>"
SERVERS = ("primaryTftpServerIpAddress", "secondaryTftpServerIpAddress")


def test_the_tftp_servers_of_a_subnet_are_read_and_changed(world: World) -> None:
    tags = "<returnedTags><subnetIpAddress/><primaryTftpServerIpAddress/><secondaryTftpServerIpAddress/></returnedTags>"

    def servers() -> list[list[str]]:
        found = world.ask("listDhcpSubnet", SUBNETS + tags)
        return [texts(found, name) for name in SERVERS]

    assert servers() == [["127.61.0.2"], ["127.61.0.1"]]
    world.ask("updateDhcpSubnet", f"{SUBNET}<{SERVERS[0]}>127.62.0.9</{SERVERS[0]}>")
    assert servers() == [["127.62.0.9"], ["127.61.0.1"]]
    world.ask("updateDhcpSubnet", f"{SUBNET}<{SERVERS[1]}/>")
    assert world.network.option150 == ("127.62.0.9",)
    assert world.fault("updateDhcpSubnet", f"{SUBNET}<domainName>x</domainName>")[0] == -1
    assert world.fault("updateDhcpSubnet", SUBNET.replace("63.0.0", "9.9.9"))[0] == 5007


def test_a_cluster_that_is_no_dhcp_server_has_no_subnets(source: World) -> None:
    source.axl = AxlData(source.cluster, source.registrations, lambda name, how: None)
    assert texts(
        source.ask("listDhcpSubnet", SUBNETS + "<returnedTags><subnetIpAddress/></returnedTags>"), "return"
    ) == [""]


def test_parameters_and_nodes_can_be_selected(world: World) -> None:
    query = "select paramname, paramvalue from processconfig where paramname='ClusterSecurityMode'"
    assert texts(world.ask("executeSQLQuery", f"<sql>{query}</sql>"), "paramvalue") == ["1"]
    world.cluster.set_security("non-secure")
    assert texts(world.ask("executeSQLQuery", f"<sql>{query};</sql>"), "paramvalue") == ["0"]
    assert texts(world.ask("executeSQLQuery", "<sql>SELECT count(*) FROM device</sql>"), "count") == ["3"]
    assert world.fault("executeSQLQuery", "<sql>select x from nowhere</sql>")[0] == 5003
    assert world.fault("executeSQLQuery", "<sql>delete from device</sql>")[0] == 5003


POOLS = "select d.name from device d join devicepool p on d.fkdevicepool = p.pkid where p.name like '{}'"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (POOLS.format("Def%"), ["SEP001B0C000001", "SEP001B0C000002", "SEP00AABBCCDDEE"]),
        (POOLS.format("def%"), []),  # a node's database tells cases apart
        (
            "select d.name from device d join typemodel m on d.tkmodel=m.enum where m.name='Cisco 7821'",
            [DEVICES[1].name],
        ),
        ("select name from device where tkmodel=683 and tkclass=1 and description='Reception'", [PHONE]),
    ],
)
def test_phones_are_chosen_by_a_query(source: World, query: str, names: list[str]) -> None:
    assert sorted(texts(source.ask("executeSQLQuery", f"<sql>{query}</sql>"), "name")) == names


@pytest.mark.parametrize(
    "query",
    [
        "select hex(zeroblob(900000000)) as a from device",
        "select a.name from device a, typemodel b, typemodel c, typemodel d, typemodel e, typemodel f",
        "select count(*) from (with recursive r(x) as (select 1 union all select x+1 from r) select x from r)",
        "select writefile('x', 'y') as a from device",
    ],
)
def test_a_query_can_not_fill_the_memory_or_take_for_ever(source: World, query: str) -> None:
    assert source.fault("executeSQLQuery", f"<sql>{query}</sql>")[0] == 5003


def test_an_answer_to_a_query_has_its_limit(source: World) -> None:
    source.limits.max_bytes = 200
    assert "Query request too large" in source.fault("executeSQLQuery", "<sql>select name from device</sql>")[1]


def test_the_sequence_of_a_request_comes_back(source: World) -> None:
    assert source.ask("getPhone", f"<name>{PHONE}</name>", attributes='sequence="7"').get("sequence") == "7"


def test_older_schemas_are_spoken_too_and_newer_ones_are_not(source: World) -> None:
    assert texts(source.ask("listPhone", ALL + PHONE_TAGS, version="10.5"), "name")
    every = "<searchCriteria><device>%</device></searchCriteria><returnedTags><device/></returnedTags>"
    with pytest.raises(SoapFault, match="EPR"):
        source.ask("listRegistrationDynamic", every, version="10.5")
    with pytest.raises(SoapFault) as caught:
        source.ask("getCCMVersion", "", version="12.5")
    assert caught.value.status == 599


@pytest.mark.parametrize("text", ["<getPhone/>", '<getPhone xmlns="urn:other"/>'])
def test_what_is_not_in_the_namespace_is_refused(source: World, text: str) -> None:
    with pytest.raises(SoapFault, match="namespace"):
        answer(etree.fromstring(text), source.axl)


def test_an_operation_nobody_knows_is_refused(source: World) -> None:
    with pytest.raises(SoapFault, match="Operation not found is removeUser"):
        source.ask("removeUser", "<userid>anna</userid>")
