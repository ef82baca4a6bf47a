"""The vendor's AXL schema, one a release: it makes requests. zeep and the schema are loaded at first use.

Answers are read without it (`cucm.soap`): a thousand phones take zeep 0.6 s and that 0.04 s, and a field that a newer
release adds is no reason to refuse an answer.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

from lxml import etree

from trustbridge.cucm.model import Release
from trustbridge.errors import SettingsError

_WSDL: Final = "AXLAPI.wsdl"
_VERSION = re.compile(r'targetNamespace="http://www\.cisco\.com/AXL/API/([\d.]+)"')
_NUMBERS = re.compile(r"\d+\.\d+")
#: The request that needs no schema: what the node is, asked in the words of any version.
_PROBE: Final = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    '<n:getCCMVersion xmlns:n="http://www.cisco.com/AXL/API/{}"/></soapenv:Body></soapenv:Envelope>'
)
_loading = threading.Lock()


def shipped() -> dict[tuple[int, ...], Path]:
    """The schemas that come with the package `ciscoaxl`, by release."""
    # Not `import ciscoaxl`: that loads a whole client with its HTTP library.
    found: dict[tuple[int, ...], Path] = {}
    folder = _package_folder() / "schema"
    for place in folder.iterdir():
        if _NUMBERS.fullmatch(place.name) and (place / _WSDL).exists():
            found[tuple(int(part) for part in place.name.split("."))] = place
    return dict(sorted(found.items()))


@lru_cache
def _package_folder() -> Path:
    from importlib.util import find_spec

    spec = find_spec("ciscoaxl")
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError("the package ciscoaxl, which brings the AXL schema, is not installed", "Run `make setup`.")
    return Path(next(iter(spec.submodule_search_locations)))


def folder_for(release: Release, given: str | None = None) -> Path:
    """The schema for a release: the folder that was given, else the newest shipped one that is not newer.

    Raises:
        SettingsError: the folder given has no schema, or no schema is that old.
    """
    if given is not None:
        folder = Path(given).expanduser()
        if not (folder / _WSDL).is_file():
            raise SettingsError(
                f"{folder} holds no AXL schema: there is no {_WSDL}",
                "Unpack the schema of the release from the AXL Toolkit, which every cluster offers for download.",
            )
        return folder
    older = [folder for numbers, folder in shipped().items() if numbers <= release.numbers]
    if not older:
        raise SettingsError(f"there is no AXL schema for release {release}", "Name a folder with one for this cluster.")
    return older[-1]


def probe(version: str) -> bytes:
    """A request for the release, in a version of the schema."""
    return _PROBE.format(version).encode()


def probe_versions() -> tuple[str, ...]:
    """Versions worth trying at a node nobody knows, newest first."""
    return tuple(".".join(map(str, numbers)) for numbers in reversed(shipped()))


class AxlSchema:
    """One schema; `load` it.

    Attributes:
        version: such as `12.5`.
    """

    def __init__(self, folder: Path) -> None:
        # Imported here: it takes half a second and 15 MB, and most commands speak no AXL.
        import zeep
        from zeep.transports import Transport

        class Offline(Transport):
            def _load_remote_data(self, url: str) -> bytes:
                raise SettingsError(f"the AXL schema in {folder} refers to {url}", "It must lie beside the others.")

        try:
            match = _VERSION.search((folder / "AXLSoap.xsd").read_text("utf-8", "replace")[:4096])
            if match is None:
                raise SettingsError(f"the AXL schema in {folder} does not say its version")
            self.version = match[1]
            # zeep's functions have no types: it is Any from here on.
            untyped: Any = zeep
            transport = cast(Any, Offline)()
            client = untyped.Client(str(folder / _WSDL), transport=transport)
            self._service = client.bind()
        except SettingsError:
            raise
        except Exception as error:  # zeep's, lxml's and the system's: a folder somebody gave
            raise SettingsError(f"the AXL schema in {folder} can't be read: {error}") from None
        self._client: Any = client

    @classmethod
    async def load(cls, folder: Path) -> AxlSchema:
        """Read a schema, in a thread, once a process: it takes two seconds and 90 MB.

        Raises:
            SettingsError: it can't be read.
        """
        return await asyncio.to_thread(_loaded, folder)

    def request(self, operation: str, values: Mapping[str, object]) -> bytes:
        """An envelope with a request, its elements in the schema's order.

        Raises:
            SettingsError: this schema has no such operation, or no such element in it.
        """
        import zeep.exceptions

        try:
            with _loading:  # zeep fills in types as they are used
                message = self._client.create_message(self._service, operation, **values)
        except (TypeError, ValueError, AttributeError, zeep.exceptions.Error) as error:
            words = str(error).partition(". Signature")[0]
            raise SettingsError(f"the AXL schema {self.version} has no such {operation}: {words}") from None
        return etree.tostring(message, xml_declaration=True, encoding="UTF-8")

    def action(self, operation: str) -> str:
        """The SOAPAction."""
        return f"CUCM:DB ver={self.version} {operation}"


@lru_cache(maxsize=4)
def _load(folder: Path) -> AxlSchema:
    return AxlSchema(folder)


def _loaded(folder: Path) -> AxlSchema:
    with _loading:
        return _load(folder)
