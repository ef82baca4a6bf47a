"""Every setting, declared once: its default, its place in the file, its environment variable and its help.

Read from `trustbridge.toml` in the configuration folder (or the file that TRUSTBRIDGE_CONFIG names), then from the
environment, where `state_folder` is TRUSTBRIDGE_STATE_FOLDER and so on; the environment wins. Nothing else in the
package reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from trustbridge.errors import SettingsError

PREFIX = "TRUSTBRIDGE_"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME and no entry in the password database, as in some containers
        # A name of its own for each user, and atomicfile.private_folder takes no folder of somebody else's.
        return Path(f"/tmp/trustbridge-{os.geteuid()}")  # noqa: S108 - see above


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError(f"nobody knows which folder ~ is in {path}") from None


class Settings(BaseModel):
    """What a user may set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state_folder: Annotated[
        Path,
        Field(description="labs, pinned host keys and what else is remembered"),
        AfterValidator(_absolute),
    ] = Path()
    database_url: Annotated[
        str,
        Field(
            description="where campaigns are kept, sqlite:///FILE or postgresql://USER@HOST/NAME; "
            "empty: campaigns.db in the state folder"
        ),
    ] = ""
    console_url: Annotated[
        str, Field(description="the console that `trustbridge remote` speaks to, such as https://console:8443")
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="what is logged, to standard error")
    ] = "warning"
    debug: Annotated[bool, Field(description="show a traceback when the program itself fails")] = False

    @property
    def lab_folder(self) -> Path:
        """Where `trustbridge lab` keeps the lab when no folder is given."""
        return self.state_folder / "lab"

    @property
    def known_hosts(self) -> Path:
        """Pinned SSH host keys."""
        return self.state_folder / "known_hosts"


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from file and environment.

    Raises:
        SettingsError: a setting is unknown or wrong; it is named, with the place it came from.
    """
    environment = os.environ if environment is None else environment
    home = Path(environment["HOME"]) if environment.get("HOME") else _home()
    state = Path(environment.get("XDG_STATE_HOME") or home / ".local" / "state") / "trustbridge"
    values: dict[str, object] = {"state_folder": str(state)}
    configuration = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "trustbridge" / "trustbridge.toml"
    named = environment.get(f"{PREFIX}CONFIG")
    path = Path(named) if named else configuration
    try:
        values |= tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if named:
            raise SettingsError(f"{PREFIX}CONFIG names {path}, which does not exist") from None
    except OSError as error:
        raise SettingsError(f"can't read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    for name in Settings.model_fields:
        if f"{PREFIX}{name.upper()}" in environment:
            values[name] = environment[f"{PREFIX}{name.upper()}"]
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise SettingsError(f"settings: {faults}", f"They come from {path} and from {PREFIX}... variables.") from None
