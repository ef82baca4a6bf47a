"""What a lab cluster's database holds of phones beside what makes them register: names they refer to, lines, numbers.

<folder>/details.json   of phones that differ from what is usual; and every directory number

Fields have the names of the AXL schema. The lab makes no calls: it keeps them, checks that what they name exists, and
gives them back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from trustbridge import atomicfile
from trustbridge.errors import SettingsError
from trustbridge.trust.configuration import SECURITY_AUTHENTICATED, SECURITY_ENCRYPTED, SECURITY_INSECURE
from trustbridge.trust.models import MODELS

if TYPE_CHECKING:
    from trustbridge.lab.definition import ClusterDefinition

HUB: Final = "Hub_None"
COMMON_PROFILE: Final = "Standard Common Phone Profile"
SIP_PROFILE: Final = "Standard SIP Profile"
SOFTKEYS: Final = "Standard User"
#: Security modes as names of profiles have them, and as the schema's XDeviceSecurityMode does.
MODE_WORDS: Final = {
    SECURITY_INSECURE: "Non-Secure",
    SECURITY_AUTHENTICATED: "Authenticated",
    SECURITY_ENCRYPTED: "Encrypted",
}


@dataclass(frozen=True, slots=True)
class PhoneDetails:
    """What a phone has beside the usual: fields by name; lines, each with `pattern` and `routePartitionName`."""

    fields: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[Mapping[str, str], ...] = ()


_USUAL: Final = PhoneDetails()


class DetailsFile:
    """Details of a cluster's phones, and its directory numbers by pattern and partition.

    Raises:
        SettingsError: the file can't be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._phones: dict[str, PhoneDetails] = {}
        self.numbers: dict[tuple[str, str], Mapping[str, str]] = {}
        try:
            kept = json.loads(path.read_text("utf-8"))
            for name, (fields, lines) in kept["phones"].items():
                self._phones[name] = PhoneDetails(dict(fields), tuple(dict(line) for line in lines))
            for number in kept["numbers"]:
                self.numbers[number["pattern"], number["routePartitionName"]] = dict(number)
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SettingsError(
                f"{path} can't be read: {error!r:.200}", "Remove it: phones then have the usual names, and no lines."
            ) from None

    def of(self, name: str) -> PhoneDetails:
        """What is kept of a phone."""
        return self._phones.get(name, _USUAL)

    def differing(self) -> Mapping[str, PhoneDetails]:
        """Phones of which something is kept."""
        return self._phones

    def keep(self, phones: Mapping[str, PhoneDetails], numbers: Mapping[tuple[str, str], Mapping[str, str]]) -> None:
        """Keep more, in place of what was kept of the same."""
        kept = {**self._phones, **phones}
        self._write({name: one for name, one in kept.items() if one != _USUAL}, {**self.numbers, **numbers})

    def forget(self, name: str) -> None:
        """Keep nothing of a phone any more; its directory numbers stay, as on a cluster."""
        self._write({other: one for other, one in self._phones.items() if other != name}, self.numbers)

    def _write(self, phones: dict[str, PhoneDetails], numbers: dict[tuple[str, str], Mapping[str, str]]) -> None:
        if (phones, numbers) == (self._phones, self.numbers):
            return
        kept: dict[str, Any] = {
            "phones": {name: [dict(one.fields), [dict(line) for line in one.lines]] for name, one in phones.items()},
            "numbers": [dict(number) for number in numbers.values()],
        }
        atomicfile.write(self._path, json.dumps(kept).encode())
        self._phones, self.numbers = phones, numbers


def product_of(model: str) -> str:
    """`CP-8841` as the database calls it: `Cisco 8841`."""
    return f"Cisco {model.removeprefix('CP-')}"


def model_of(product: str) -> str:
    """The other way round."""
    return f"CP-{product.removeprefix('Cisco ')}"


@lru_cache(maxsize=1024)
def template_of(model: str) -> str:
    """The name of a model's standard phone button template."""
    return f"Standard {model.removeprefix('CP-')} SIP"


@lru_cache(maxsize=1024)
def profile_of(model: str, mode: int) -> str:
    """The name of a model's standard security profile in a mode."""
    return f"{product_of(model)} - Standard SIP {MODE_WORDS[mode]} Profile"


def mode_in(profile: str) -> int | None:
    """The security mode that a profile's name tells; None when it tells none, or several."""
    found = [number for number, word in MODE_WORDS.items() if f" {word} " in f" {profile} "]
    return found[0] if len(found) == 1 else None


def names(definition: ClusterDefinition, kind: str, models: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Names of the objects of a kind, the usual ones first; a device pool is a Unified CM group by the same name.

    Args:
        kind: as the schema calls it: `location`, `css`, ...
        models: of phones, besides those the lab knows.
    """
    more = definition.objects
    known = sorted({*MODELS, *models})
    match kind:
        case "devicePool":
            return tuple(group.name for group in definition.unified_cm_groups)
        case "phoneButtonTemplate":
            return (*(template_of(model) for model in known), *more.templates)
        case "phoneSecurityProfile":
            return (*(profile_of(model, mode) for model in known for mode in MODE_WORDS), *more.security_profiles)
        case "location":
            return (HUB, *more.locations)
        case "commonPhoneConfig":
            return (COMMON_PROFILE, *more.common_profiles)
        case "sipProfile":
            return (SIP_PROFILE,)
        case "softKeyTemplate":
            return (SOFTKEYS, *more.softkey_templates)
        case "routePartition":
            return more.partitions
        case "css":
            return more.calling_search_spaces
        case "user":
            return more.users
    raise KeyError(kind)
