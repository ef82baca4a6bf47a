"""The phone's configuration file: what is written is read back, and what is read never breaks the reader."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.errors import InvalidInput
from trustbridge.trust import configuration
from trustbridge.trust.configuration import MAX_TVS, CallManagerMember, Configuration, TvsServer

#: As a cluster writes it, with elements nobody here reads. Element names: `wire-formats`, section 4.
SAMPLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<device xsi:type="axl:XIPPhone" ctiid="94" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:axl="urn:x">
<fullConfig>true</fullConfig>
<deviceProtocol>SIP</deviceProtocol>
<devicePool uuid="{1b1b9eb6-7803-11d3-bdf0-00108302ead1}">
<name>Krakow</name>
<callManagerGroup><name>Default</name><members>
<member  priority="1"><callManager><ports><ethernetPhonePort>2000</ethernetPhonePort><sipPort>5060</sipPort>
<securedSipPort>5061</securedSipPort></ports><processNodeName>cm2</processNodeName></callManager></member>
<member  priority="0"><callManager><ports><sipPort>15060</sipPort><securedSipPort>15061</securedSipPort></ports>
<processNodeName> cm1 </processNodeName></callManager></member>
</members></callManagerGroup>
</devicePool>
<TVS><members>
<member><address>last</address></member>
<member priority="10"><port>2445</port><address>10.0.0.2</address></member>
<member priority="2"><port>12445</port><address>10.0.0.1</address></member>
</members></TVS>
<vendorConfig><webAccess>1</webAccess></vendorConfig>
<versionStamp>{5a9f1b}</versionStamp>
<loadInformation>sip88xx.14-1-1</loadInformation>
<deviceSecurityMode>2</deviceSecurityMode>
<transportLayerProtocol>3</transportLayerProtocol>
<capfList><capf><phonePort>3804</phonePort><processNodeName>cm1</processNodeName></capf></capfList>
</device>
"""


def test_a_clusters_file_is_read_in_order_of_priority() -> None:
    assert configuration.parse(SAMPLE) == Configuration(
        call_managers=(CallManagerMember("cm1", 15060, 15061), CallManagerMember("cm2")),
        tvs=(TvsServer("10.0.0.1", 12445), TvsServer("10.0.0.2"), TvsServer("last")),
        security_mode=2,
        transport=3,
        capf=("cm1", 3804),
        load="sip88xx.14-1-1",
        version_stamp="{5a9f1b}",
        device_pool="Krakow",
        web_access=False,
    )


def test_absent_elements_take_their_defaults() -> None:
    assert configuration.parse(b"<device/>") == Configuration((), ())
    assert not configuration.parse(b"<device/>").secure


@pytest.mark.parametrize(("mode", "secure"), [(1, False), (2, True), (3, True)])
def test_authenticated_and_encrypted_phones_register_over_tls(mode: int, secure: bool) -> None:
    assert configuration.parse(b"<device><deviceSecurityMode>%d</deviceSecurityMode></device>" % mode).secure is secure


def test_the_default_file_of_a_cluster_names_a_group_without_a_pool() -> None:
    group = b"<callManagerGroup><members><member priority='0'><callManager><processNodeName>cm1</processNodeName>"
    end = b"</callManager></member></members></callManagerGroup>"
    found = configuration.parse(b"<Default>" + group + end + b"<loadInformation>x</loadInformation></Default>")
    assert found.call_managers == (CallManagerMember("cm1"),)
    assert configuration.parse(b"<device>" + group + end + b"</device>").call_managers == ()


def test_members_keep_their_order_where_priorities_say_nothing() -> None:
    members = b"".join(
        b"<member %s><address>%s</address></member>" % (priority, name)
        for priority, name in [
            (b"", b"d"),
            (b'priority="x"', b"e"),
            (b'priority="1"', b"b"),
            (b'priority="1"', b"c"),
            (b'priority="0"', b"a"),
        ]
    )
    found = configuration.parse(b"<device><TVS><members>" + members + b"</members></TVS></device>")
    assert [server.address for server in found.tvs] == ["a", "b", "c", "d", "e"]


def test_no_more_than_five_tvs_servers_count_and_none_without_an_address() -> None:
    members = b"".join(b"<member priority='%d'><address>t%d</address></member>" % (n, n) for n in range(9))
    found = configuration.parse(
        b"<device><TVS><members><member priority='0'><address> </address></member>"
        + members
        + b"</members></TVS></device>"
    )
    assert [server.address for server in found.tvs] == ["t0", "t1", "t2", "t3", "t4"]
    nine = Configuration((), tuple(TvsServer(f"t{n}") for n in range(9)))
    assert configuration.build(nine).count(b"<address>") == MAX_TVS


def test_a_capf_without_a_name_is_none() -> None:
    assert (
        configuration.parse(b"<device><capfList><capf><phonePort>3804</phonePort></capf></capfList></device>").capf
        is None
    )


ports = st.integers(1, 65535)
text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=20).map(
    str.strip
)
name = text.filter(bool) | st.text(string.ascii_letters + string.digits + "-._:&<>'\"", min_size=1, max_size=20)
configurations = st.builds(
    Configuration,
    call_managers=st.lists(st.builds(CallManagerMember, name, ports, ports), max_size=4).map(tuple),
    tvs=st.lists(st.builds(TvsServer, name, ports), max_size=MAX_TVS).map(tuple),
    security_mode=st.integers(1, 3),
    transport=st.integers(1, 3),
    capf=st.none() | st.tuples(name, ports),
    load=text,
    version_stamp=text,
    device_pool=name,
    web_access=st.booleans(),
)


@given(configurations)
def test_what_is_built_is_read_back(value: Configuration) -> None:
    assert configuration.parse(configuration.build(value)) == value


@given(character=st.sampled_from("\0\x01\x1f\x0b\ufffe\uffff\ud800"))
def test_a_name_that_xml_cannot_carry_is_not_written(character: str) -> None:
    with pytest.raises(ValueError, match="can't stand in a configuration file"):
        configuration.build(Configuration((CallManagerMember(f"cm{character}"),), ()))


ERRORS = [
    ("nothing", b"", "no element found"),
    ("no XML", b"SEP001122334455", "not a phone configuration: syntax error"),
    ("another root", b"<html/>", "root element <html>, expected <device>"),
    ("cut short", SAMPLE[:-20], "no element found|unclosed token"),
    ("a tail", SAMPLE + b"<device/>", "junk after document element"),
    ("an unknown entity", b"<device>&lol;</device>", "undefined entity"),
    ("no number", b"<device><deviceSecurityMode>three</deviceSecurityMode></device>", "'three', expected a number"),
    ("a negative number", b"<device><transportLayerProtocol>-1</transportLayerProtocol></device>", "expected a number"),
    (
        "a long number",
        b"<device><transportLayerProtocol>%s</transportLayerProtocol></device>" % (b"9" * 5000),
        "number",
    ),
    ("a port of 0", SAMPLE.replace(b"15060", b"0"), "sipPort is 0, expected a port"),
    ("a port of 65536", SAMPLE.replace(b"15061", b"65536"), "securedSipPort is 65536, expected a port"),
    ("a TVS port of 70000", SAMPLE.replace(b"12445", b"70000"), "port is 70000, expected a port"),
    ("a CAPF port of 99999", SAMPLE.replace(b"3804", b"99999"), "phonePort is 99999, expected a port"),
    ("an unknown encoding", b'<?xml version="1.0" encoding="zz"?><device/>', "unknown encoding"),
    ("an encoding that is no text", b'<?xml version="1.0" encoding="base64"?><device/>', "not a text encoding"),
]


@pytest.mark.parametrize(("data", "words"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_what_is_no_configuration_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        configuration.parse(data)


BOMB = """<?xml version="1.0" encoding="{0}"?><!DOCTYPE device [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]>
<device><loadInformation>&d;</loadInformation></device>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
@pytest.mark.parametrize(
    "xml",
    [
        BOMB,
        '<?xml version="1.0" encoding="{0}"?><!DOCTYPE device SYSTEM "file:///etc/passwd"><device/>',
        '<?xml version="1.0" encoding="{0}"?><!DOCTYPE device [<!ENTITY x SYSTEM "file:///etc/passwd">]><device>&x;</device>',
        '<?xml version="1.0" encoding="{0}"?><!DOCTYPE device><device/>',
    ],
)
def test_a_document_type_is_refused_in_any_encoding(xml: str, encoding: str) -> None:
    with pytest.raises(InvalidInput, match="it brings a document type, which no cluster writes"):
        configuration.parse(xml.format(encoding).encode(encoding))


def test_a_file_in_another_encoding_is_read() -> None:
    xml = '<?xml version="1.0" encoding="utf-16"?><device><loadInformation>Łódź</loadInformation></device>'
    assert configuration.parse(xml.encode("utf-16")).load == "Łódź"


def test_deep_nesting_does_no_harm() -> None:
    depth = 100_000
    assert configuration.parse(b"<device>" + b"<a>" * depth + b"</a>" * depth + b"</device>") == Configuration((), ())


@given(st.binary(max_size=80))
def test_any_bytes_are_a_configuration_or_refused(data: bytes) -> None:
    check_total(data)


@given(at=st.integers(0, len(SAMPLE) - 1), value=st.binary(max_size=3), removed=st.integers(0, 40))
def test_a_mutated_file_is_a_configuration_or_refused(at: int, value: bytes, removed: int) -> None:
    check_total(SAMPLE[:at] + value + SAMPLE[at + removed :])


def check_total(data: bytes) -> None:
    found = parsed(data)
    if isinstance(found, InvalidInput):
        assert found.message.startswith("not a phone configuration")
    else:
        assert len(found.tvs) <= MAX_TVS
        assert all(0 < server.port < 65536 and server.address for server in found.tvs)
        assert all(0 < member.sip_port < 65536 and member.name for member in found.call_managers)


def parsed(data: bytes) -> Configuration | InvalidInput:
    try:
        return configuration.parse(data)
    except InvalidInput as error:
        return error
