"""What a plan's form and the API say of a campaign that is to be: a model with the names of the command's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from trustbridge.dhcp.record import Kind, Server
from trustbridge.errors import SettingsError
from trustbridge.migration.campaignprepare import Wish

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=512, pattern=r"^[^\x00]*$")]
Texts = Annotated[list[Text], Field(max_length=500)]
Long = Annotated[str, StringConstraints(max_length=4_000_000, pattern=r"^[^\x00]*$")]
Rule = Literal["wait", "skip"]
RuleGo = Literal["wait", "skip", "go"]
Stay = Literal["skip", "go"]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=1_000_000)]


class Plan(BaseModel):
    """A campaign that is to be; see `trustbridge migrate plan --help`. Minutes and seconds as there."""

    model_config = ConfigDict(extra="forbid")

    name: Text
    source: Text
    destination: Text
    device_pools: Texts = []
    models: Texts = []
    subnets: Texts = []
    phones: Texts = []
    without: Texts = []
    listed: Annotated[Long, Field(description="names of phones: CSV, or one a line; empty for no list")] = ""
    sql: Annotated[Text, Field(description="a SELECT over the source's database whose column `name` names phones")] = ""
    registered: bool = False
    pilot: Annotated[int, Field(ge=0, le=1_000_000)] = 5
    pilot_site: Text = ""
    wave_size: Count = 200
    by: Literal["none", "device-pool"] = "none"
    windows: Texts = []
    site_windows: Annotated[Texts, Field(description="DEVICE-POOL=WINDOW")] = []
    kea: Annotated[Text, Field(description="unix:SOCKET or the URL of Kea's control agent")] = ""
    kea_user: Text = ""
    dhcp_cluster: Annotated[Text, Field(description="a cluster that is itself the DHCP server")] = ""
    scopes: Texts = []
    site_scopes: Annotated[Texts, Field(description="DEVICE-POOL=SCOPE")] = []
    tftp_servers: Texts = []
    predicting: bool = True
    stranding: Stay = "skip"
    unknown: Stay = "go"
    resets_a_minute: Count = 30
    under_way: Count = 100
    tvs_load: Count = 50
    failures: Annotated[float, Field(ge=0, le=1)] = 0.1
    in_use: Rule = "wait"
    unregistered: Rule = "wait"
    unfit: RuleGo = "wait"
    unseen: RuleGo = "go"
    longest_wait: Seconds = 240
    restart: Seconds = 15
    settle: Seconds = 60
    look: Seconds = 10
    lease: Seconds = 120
    doubt: Seconds = 180
    phone_port: Annotated[int, Field(ge=1, le=65535)] = 80

    def wish(self) -> Wish:
        """The same for `campaignprepare`.

        Raises:
            SettingsError: two DHCP servers are named.
        """
        values = self.model_dump(exclude={"kea", "kea_user", "dhcp_cluster", "listed"})
        lists = {name: tuple(one for one in value if one) for name, value in values.items() if isinstance(value, list)}
        return Wish(**values | lists, listed=self.listed if self.listed.strip() else None, server=self._server())

    def _server(self) -> Server | None:
        if self.kea and self.dhcp_cluster:
            raise SettingsError("one DHCP server is expected", "Name Kea, or a cluster; not both.")
        if self.kea:
            return Server(Kind.KEA, self.kea, self.kea_user)
        return Server(Kind.CLUSTER, self.dhcp_cluster) if self.dhcp_cluster else None


#: Fields that hold one value a line, and such that are ticked.
_LINES: Final = frozenset(
    name for name, one in Plan.model_fields.items() if one.annotation == Texts or one.default == []
)
_TICKED: Final = frozenset(name for name, one in Plan.model_fields.items() if one.annotation is bool)


def blank() -> dict[str, Any]:
    """What a form shows at first."""
    return {
        name: "" if field.is_required() else "\n".join(field.default) if name in _LINES else field.default
        for name, field in Plan.model_fields.items()
    } | {"failures": "10"}


def read(form: Mapping[str, str]) -> Plan:
    """A form's fields; those that are empty are as by default, failures are in per cent.

    Raises:
        SettingsError: a field holds what it can't.
    """
    values: dict[str, Any] = {}
    for name in Plan.model_fields:
        given = str(form.get(name, ""))
        if name in _TICKED:
            values[name] = given == "yes"
        elif name in _LINES:
            values[name] = [line.strip() for line in given.splitlines() if line.strip()]
        elif given.strip():
            values[name] = given
    try:
        if "failures" in values:
            values["failures"] = float(values["failures"].replace(",", ".")) / 100
        return Plan(**values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
        raise SettingsError(f"the form can't be read: {faults}", "Correct it, and send it again.") from None
    except ValueError:
        raise SettingsError("the share of failures is no number", "Such as 10, for 10 %.") from None
