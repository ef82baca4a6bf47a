"""Phones as a first boot at their home leaves them, without one: for labs of tens of thousands.

What a first boot brings is known beforehand: a phone without trust lists takes the first ones unseen, installs the
configuration its home has for it, and registers with the first Unified CM of its group. So the very files that its home
serves are written to its flash, and the registrar is asked as it would be by the phone; `tests/lab/test_settled.py`
holds both ways together.
"""

from __future__ import annotations

from collections.abc import Iterable

from trustbridge.errors import NotNow, TrustbridgeError
from trustbridge.lab.lab import Lab
from trustbridge.lab.nodefiles import CTL_FILE, ITL_FILE
from trustbridge.lab.phone import EXPIRES, LabPhone
from trustbridge.services.registrar import Registration
from trustbridge.trust import configuration as configurations
from trustbridge.trust.events import Kept, RegistrationTarget


def settle(lab: Lab, phones: Iterable[LabPhone]) -> None:
    """Settle phones at their homes, whatever they hold and wherever they are registered now. The lab is up.

    Raises:
        NotNow: a home serves no files.
        TrustbridgeError: a home does not take one of its phones.
        OSError: a flash can't be written.
    """
    for phone in phones:
        _settle(lab, phone)


def _settle(lab: Lab, phone: LabPhone) -> None:
    home = lab.fleet.homes[phone.name]
    definition = lab.clusters[home].definition
    servers = definition.tftp_addresses()
    node = next((one for one in definition.nodes if definition.address(one.name) == servers[0]), None)
    files = None if node is None else lab.nodes[home, node.name].files
    plain = None if files is None else files(f"{phone.name}.cnf.xml")
    if files is None or plain is None:
        raise NotNow(f"{home} serves no configuration for {phone.name}", "Is its first TFTP server up?")
    target = RegistrationTarget.group_of(configurations.parse(plain))[0]
    lists = {Kept.CTL: files(CTL_FILE)}
    if phone.identity.model.security_by_default:
        lists[Kept.ITL] = files(ITL_FILE)
    for other, registrations in lab.registrations.items():
        if other != home:
            registrations.forget(phone.name)
    _register(lab, home, phone, target)
    phone.settle({kept: content for kept, content in lists.items() if content is not None}, plain, servers, target)


def _register(lab: Lab, home: str, phone: LabPhone, target: RegistrationTarget) -> None:
    """Ask the registrar what the phone would ask it."""
    definition = lab.clusters[home].definition
    node = next(one.name for one in definition.nodes if definition.address(one.name) == target.name)
    address = (phone.identity.address, target.port)
    answer = lab.registrations[home].judge(
        node,
        Registration(
            device=phone.name,
            model=str(phone.identity.model.number),
            contact=address,
            peer=address,
            expires=EXPIRES,
            secure=target.secure,
            peer_subject=f"CN={phone.name}" if target.secure else "",
        ),
    )
    if answer.code != 200:
        raise TrustbridgeError(f"{home} does not take {phone.name}: {answer.code} {answer.reason}")
