"""The record of phones that were created at a destination, so that it can go on after a kill, and be taken back.

    <state>/devices/<source>+<destination>/journal.jsonl   a line an event, on disk before the next thing is done

What is about to be created is written down first, then how the cluster has it. No secret is in it. A line that a kill
cut off is no event: what it would have told is looked at again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from trustbridge import atomicfile
from trustbridge.cucm.devices import DeviceDetails, device_from_json, device_json
from trustbridge.errors import SettingsError

FOLDER: Final = "devices"
JOURNAL: Final = "journal.jsonl"
_FORMAT: Final = 1


class State(StrEnum):
    """What became of a phone, or of a directory number."""

    ASKED = "asked"  # nobody knows: it was interrupted
    CREATED = "created"
    REFUSED = "refused"
    FOREIGN = "foreign"  # it was there, and not from here
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Entry:
    """A phone of the record.

    Attributes:
        device: as it was asked for; once created, as the cluster has it.
        why: what the cluster said, where it refused.
    """

    state: State
    device: DeviceDetails
    why: str = ""


class DevicesRecord:
    """What was created at one destination for phones of one source.

    Attributes:
        phones, numbers: what became of each, latest word; numbers by pattern and partition.
    """

    def __init__(self, state: Path, source: str, destination: str) -> None:
        self.source, self.destination = source, destination
        self.folder = state / FOLDER / f"{source}+{destination}"
        self.phones: dict[str, Entry] = {}
        self.numbers: dict[tuple[str, str], State] = {}

    @property
    def exists(self) -> bool:
        """Whether anything was ever created."""
        return (self.folder / JOURNAL).exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time creates or removes; what another one did meanwhile is read.

        Raises:
            SettingsError: the record can't be read.
            TrustbridgeError: the folder can't be made or entered.
        """
        with atomicfile.in_words(f"what is done can't be recorded in {self.folder}"):
            atomicfile.private_folder(self.folder)
            with atomicfile.locked_folder(self.folder):
                self.read()
                yield

    def read(self) -> None:
        """Take in what is on disk.

        Raises:
            SettingsError: it can't be read, or somebody wrote into it.
        """
        self.phones, self.numbers = {}, {}
        path = self.folder / JOURNAL
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise SettingsError(f"can't read {path}: {error.strerror or error}") from None
        for number, line in enumerate(lines, start=1):
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut off by a kill, or nothing behind the last line
            try:
                self._take(event)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise SettingsError(
                    f"{path}, line {number}: that is no event of this record: {error!r:.100}",
                    "Somebody wrote into it. What was created can't be told from a damaged record.",
                ) from None

    def phone(self, state: State, device: DeviceDetails, now: datetime, why: str = "") -> None:
        """Write down what becomes of a phone; it is on disk when this returns.

        Raises:
            TrustbridgeError: the disk is full, or not ours.
        """
        self._append({"phone": device.name, "state": str(state), "device": device_json(device), "why": why}, now)

    def number(self, state: State, number: tuple[str, str], now: datetime) -> None:
        """Write down what becomes of a directory number; as `phone`."""
        self._append({"number": list(number), "state": str(state)}, now)

    def in_state(self, state: State) -> list[str]:
        """Phones that are in a state, by name."""
        return sorted(name for name, entry in self.phones.items() if entry.state is state)

    @property
    def own_numbers(self) -> frozenset[tuple[str, str]]:
        """Directory numbers that were created, or asked for: then nobody knows."""
        return frozenset(one for one, state in self.numbers.items() if state in (State.CREATED, State.ASKED))

    def _take(self, event: dict[str, Any]) -> None:
        if event["format"] != _FORMAT:
            raise ValueError(f"format {event['format']!r}")
        state = State(event["state"])
        if "number" in event:
            pattern, partition = event["number"]
            if not (isinstance(pattern, str) and isinstance(partition, str)):
                raise TypeError("a number")
            self.numbers[pattern, partition] = state
            return
        device = device_from_json(event["device"])
        if event["phone"] != device.name:
            raise ValueError("two names")
        self.phones[device.name] = Entry(state, device, str(event["why"]))

    def _append(self, event: dict[str, Any], now: datetime) -> None:
        event = {"format": _FORMAT, "at": now.isoformat(timespec="milliseconds"), **event}
        line = json.dumps(event, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with atomicfile.in_words(f"what is done can't be recorded in {self.folder}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self.folder / JOURNAL, flags, atomicfile.PRIVATE_FILE)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line  # a kill cut the last line off: it stays alone
                while line:
                    line = line[os.write(descriptor, line) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._take(event)


def created_phones(state: Path, source: str, destination: str) -> list[str]:
    """Phones of one cluster that were created at another, and are there still as far as the record knows.

    Raises:
        SettingsError: the record can't be read.
    """
    record = DevicesRecord(state, source, destination)
    record.read()
    return record.in_state(State.CREATED)
