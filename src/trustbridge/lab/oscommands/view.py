"""What a command sees of the node it runs on, and how commands are written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from trustbridge.errors import Refused
from trustbridge.lab.cluster import Cluster
from trustbridge.lab.profiles import ReleaseProfile
from trustbridge.services.clishell import Command

#: The last line of a command that came to nothing.
FAILED: Final = "Executed command unsuccessfully\n"


class RunningServices(Protocol):
    """The services of a node that runs."""

    def running(self, service: str) -> bool:
        """Whether a feature service is up, by the name that `utils service list` gives it."""

    async def restart(self, service: str) -> None:
        """Stop it and start it again; KeyError when the node has no such service."""

    def served(self, name: str) -> bytes | None:
        """What TFTP answers for a name; None for no such file."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as its commands see it. `started` is when its services did."""

    cluster: Cluster
    node: str
    profile: ReleaseProfile
    services: RunningServices
    started: datetime

    @property
    def on_publisher(self) -> bool:
        """Whether this is the publisher."""
        return self.node == self.cluster.publisher

    def need_publisher(self) -> None:
        """Refuse what only the publisher does.

        Raises:
            Refused: this is a subscriber.
        """
        if not self.on_publisher:
            raise Refused("This command can only be executed on the publisher node.")


@dataclass(frozen=True, slots=True)
class CommandForm:
    """A command.

    Attributes:
        words: what it begins with, in lower case.
        parameters: what follows, for help: `unit name`.
        run: given the node and what was typed behind the words.
        fewest: parameters it needs at least.
    """

    words: tuple[str, ...]
    parameters: str
    run: Callable[[NodeView, str], Command]
    fewest: int = 0

    @property
    def name(self) -> str:
        """Its words in one."""
        return " ".join(self.words)


def command(words: str, run: Callable[[NodeView, str], Command], parameters: str = "", fewest: int = 0) -> CommandForm:
    """A command that begins with `words`."""
    return CommandForm(tuple(words.split()), parameters, run, fewest)


#: What a node asks when an answer was neither.
ANSWER_AGAIN: Final = "Please answer 'y' for <yes> or 'n' for <no>: "


def agreed(answer: str) -> bool | None:
    """What an answer to a question of yes or no means; None for neither."""
    return {"y": True, "yes": True, "n": False, "no": False}.get(answer.strip().lower())


def date(when: datetime) -> str:
    """As a node writes dates: `Wed May 29 17:44:48 2013`."""
    return f"{when:%a %b} {when.day} {when:%H:%M:%S %Y}"


def date_with_zone(when: datetime) -> str:
    """The other way it writes them: `Wed Jul 27 10:16:24 UTC 2011`."""
    return f"{when:%a %b %d %H:%M:%S} UTC {when:%Y}"


def table(rows: Iterable[str]) -> str:
    """Lines of output."""
    return "".join(f"{row}\n" for row in rows)
