"""What a phone shows under which path, in which form, and when it shows nothing."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.lab.prepared import NOW, clock

from trustbridge.errors import NotNow
from trustbridge.lab.phone import LabPhone, PhoneIdentity, PhoneNetwork, Standing
from trustbridge.lab.ports import Ports
from trustbridge.lab.statuspages import HTML, XML, page
from trustbridge.trust import configuration as configurations
from trustbridge.trust.configuration import CallManagerMember, Configuration, TvsServer
from trustbridge.trust.events import Kept, Line, RegistrationTarget
from trustbridge.trust.models import MODELS

SERVICEABILITY = "/CGI/Java/Serviceability?adapter="
CONFIGURATION = Configuration(
    call_managers=(CallManagerMember("127.0.0.1"), CallManagerMember("127.0.0.2")),
    tvs=(TvsServer("127.0.0.1", 2445), TvsServer("127.0.0.2", 22445)),
)


@pytest.fixture
def phone(tmp_path: Path) -> LabPhone:
    (tmp_path / "SEP001B0C000001").mkdir()
    identity = PhoneIdentity("SEP001B0C000001", MODELS["CP-8841"], "127.30.0.10")
    return LabPhone(identity, tmp_path / "SEP001B0C000001", PhoneNetwork("127.30.0.1", Ports()), clock)


def shown(phone: LabPhone, target: str) -> str:
    found = page(phone, target)
    assert found is not None
    assert found[0] == HTML
    return found[1].decode()


def rows(text: str) -> dict[str, str]:
    return dict(re.findall(r"<TR><TD><B>(.*?)</B></TD><TD>(.*?)</TD></TR>", text))


def xml(phone: LabPhone, target: str) -> dict[str, str]:
    found = page(phone, target)
    assert found is not None
    assert found[0] == XML
    return {element.tag: element.text or "" for element in ET.fromstring(found[1])}


@pytest.mark.parametrize("target", ["/", SERVICEABILITY + "device.statistics.device"])
def test_the_first_page_says_which_phone_this_is(phone: LabPhone, target: str) -> None:
    found = rows(shown(phone, target))
    assert found == {"MAC Address": "001B0C000001", "Host Name": "SEP001B0C000001", "Model Number": "CP-8841"}


def test_the_same_as_xml(phone: LabPhone) -> None:
    assert xml(phone, "/DeviceInformationX") == {
        "MACAddress": "001B0C000001",
        "HostName": "SEP001B0C000001",
        "ModelNumber": "CP-8841",
    }


def test_status_messages_are_shown_newest_last_with_their_time(phone: LabPhone) -> None:
    phone.show("Trust List Updated")
    phone.show("Trust List Update Failed")
    text = shown(phone, SERVICEABILITY + "device.settings.status.messages")
    assert re.findall(r"<TD><B>(.*?)</B></TD><TD>(.*?)</TD>", text) == [
        (f"{NOW:%H:%M:%S %d/%m/%y}", "Trust List Updated"),
        (f"{NOW:%H:%M:%S %d/%m/%y}", "Trust List Update Failed"),
    ]


def test_only_the_last_fifty_messages_are_kept(phone: LabPhone) -> None:
    for number in range(60):
        phone.show(f"message {number}")
    text = shown(phone, SERVICEABILITY + "device.settings.status.messages")
    assert re.findall(r"message (\d+)", text) == [str(number) for number in range(10, 60)]


def test_the_network_page_of_a_fresh_phone(phone: LabPhone) -> None:
    found = rows(shown(phone, SERVICEABILITY + "device.statistics.configuration"))
    assert found == {
        "MAC Address": "001B0C000001",
        "Host Name": "SEP001B0C000001",
        "DHCP": "Yes",
        "IP Address": "127.30.0.10",
        "Alternate TFTP": "No",
        "CTL File": "Not Installed",
        "ITL File": "Not Installed",
    }


@pytest.mark.parametrize("target", [SERVICEABILITY + "device.statistics.configuration", "/NetworkConfiguration"])
def test_the_network_page_shows_whom_the_phone_knows_and_what_it_trusts(phone: LabPhone, target: str) -> None:
    phone.flash.write(Kept.CONFIGURATION, configurations.build(CONFIGURATION))
    phone.flash.write(Kept.ITL, b"an ITL")
    phone.tftp_servers = ("127.20.1.2", "127.20.1.1")
    phone.registered_with = RegistrationTarget("127.0.0.2", 5060, False)
    found = rows(shown(phone, target))
    assert found["TFTP Server 1"] == "127.20.1.2"
    assert found["TFTP Server 2"] == "127.20.1.1"
    assert (found["Unified CM 1"], found["Unified CM 2"]) == ("127.0.0.1", "127.0.0.2 Active")
    assert (found["TVS 1"], found["TVS 2"]) == ("127.0.0.1:2445", "127.0.0.2:22445")
    assert found["ITL File"] == hashlib.sha1(b"an ITL").hexdigest().upper()
    assert found["CTL File"] == "Not Installed"
    assert xml(phone, "/NetworkConfigurationX")["TFTPServer1"] == "127.20.1.2"


def test_the_console_log_tells_what_the_phone_decided(phone: LabPhone) -> None:
    phone.transcript = [Line("starts"), Line("signed by <CN=a>", True), Line("refused", False)]
    text = shown(phone, SERVICEABILITY + "device.statistics.consolelog")
    assert re.findall(r"<TD><B>(.*?)</B></TD><TD>(.*?)</TD>", text) == [
        ("", "starts"),
        ("OK", "signed by &lt;CN=a&gt;"),
        ("FAIL", "refused"),
    ]


def test_names_from_elsewhere_can_not_become_markup(phone: LabPhone) -> None:
    phone.show('<script>alert("x")</script>')
    assert "<script" not in shown(phone, SERVICEABILITY + "device.settings.status.messages")
    phone.flash.write(Kept.CONFIGURATION, configurations.build(Configuration((CallManagerMember("<b>&"),), ())))
    assert "<b>" not in shown(phone, "/NetworkConfiguration")
    assert xml(phone, "/NetworkConfigurationX")["UnifiedCM1"] == "<b>&"


@pytest.mark.parametrize(
    "target",
    [
        "/nothing",
        "",
        "//[",
        "/CGI/Java/Serviceability",
        SERVICEABILITY + "device.statistics.port.network",
        "/../..",
        "*",
    ],
)
def test_elsewhere_there_is_nothing(phone: LabPhone, target: str) -> None:
    assert page(phone, target) is None


def test_a_phone_whose_web_access_is_off_shows_nothing_at_all(phone: LabPhone) -> None:
    phone.flash.write(Kept.CONFIGURATION, configurations.build(replace(CONFIGURATION, web_access=False)))
    assert page(phone, "/") is None
    assert page(phone, "/DeviceInformationX") is None


def test_a_damaged_configuration_does_not_take_the_pages_away(phone: LabPhone) -> None:
    phone.flash.write(Kept.CONFIGURATION, b"<device")
    assert rows(shown(phone, "/NetworkConfiguration"))["IP Address"] == "127.30.0.10"


def test_a_call_is_on_the_page_of_the_first_stream_and_its_traces_stay(phone: LabPhone) -> None:
    now = NOW
    phone._clock = lambda: now
    phone.standing = Standing.REGISTERED
    adapter = SERVICEABILITY + "device.statistics.streaming."
    assert rows(shown(phone, adapter + "0"))["Stream Status"] == "Not Ready"
    assert rows(shown(phone, adapter + "0"))["Remote Address"] == "0.0.0.0/0"
    phone.place_call("192.0.2.1/16384")
    now += timedelta(seconds=2)
    found = rows(shown(phone, adapter + "0"))
    assert (found["Stream Status"], found["Sender Packets"]) == ("Active", "100")
    assert found["Local Address"].startswith("127.30.0.10/")
    assert xml(phone, "/StreamingStatisticsX?1")["StreamStatus"] == "Active"
    assert rows(shown(phone, "/StreamingStatistics?1")) == found
    assert rows(shown(phone, adapter + "1"))["Stream Status"] == "Not Ready"
    phone.hang_up()
    now += timedelta(hours=1)
    after = rows(shown(phone, adapter + "0"))
    assert after == found | {"Stream Status": "Not Ready"}
    assert xml(phone, "/StreamingStatisticsX?1")["RemoteAddr"] == "192.0.2.1/16384"


@pytest.mark.parametrize("number", ["", "-1", "5", "x", "²", "00"])
def test_there_are_five_streams(phone: LabPhone, number: str) -> None:
    assert page(phone, SERVICEABILITY + "device.statistics.streaming." + number) is None
    assert page(phone, "/StreamingStatisticsX?" + ("6" if number == "5" else number)) is None
    assert page(phone, SERVICEABILITY + "device.statistics.streaming.4") is not None


def test_a_phone_that_is_not_registered_or_busy_takes_no_call(phone: LabPhone) -> None:
    with pytest.raises(NotNow, match="it is off"):
        phone.place_call("192.0.2.1/16384")
    with pytest.raises(NotNow, match="in no call"):
        phone.hang_up()
    phone.standing = Standing.REGISTERED
    phone.place_call("192.0.2.1/16384")
    with pytest.raises(NotNow, match="in a call"):
        phone.place_call("192.0.2.1/16384")
