"""A script of a phone's events and the commands expected of it, (after mitmproxy's layer tests).

    assert Playbook(phone) >> Booted(...) << ShowStatus("ITL installed") << Fetch(...) >> Downloaded(...) << ...

`>>` gives the phone an event, `<<` expects its next command. The script must be complete: a command nobody expects
fails too, with the whole conversation as a diff.
"""

from __future__ import annotations

import difflib
from typing import Self

from trustbridge.trust.events import AskTvs, Booted, Command, Downloaded, Event, Install, TvsAnswered
from trustbridge.trust.phone import Phone


class Playbook:
    """One conversation; `names` gives long contents a name in what is shown."""

    def __init__(self, phone: Phone, names: dict[bytes, str] | None = None) -> None:
        self.phone = phone
        self._names = names or {}
        self._lines: list[tuple[bool, Event | Command]] = []  # whether it is an event, and what

    def __rshift__(self, event: Event) -> Self:
        self._lines.append((True, event))
        return self

    def __lshift__(self, command: Command) -> Self:
        self._lines.append((False, command))
        return self

    def __bool__(self) -> bool:
        happened: list[tuple[bool, Event | Command]] = []
        for is_event, line in self._lines:
            if is_event:
                happened.append((True, line))
                happened += [(False, command) for command in self.phone.handle(line)]  # type: ignore[arg-type]  # an event
        if happened != self._lines:
            said = "\n".join(line.text for line in self.phone.transcript)
            diff = "\n".join(difflib.ndiff(self._text(self._lines), self._text(happened)))
            raise AssertionError(f"- expected, + happened\n{diff}\n\nThe phone's transcript:\n{said}")
        return True

    def _text(self, lines: list[tuple[bool, Event | Command]]) -> list[str]:
        return [f"{'>>' if is_event else '<<'} {self.show(line)}" for is_event, line in lines]

    def show(self, item: Event | Command) -> str:
        """One line for an event or a command."""
        match item:
            case Downloaded(name, content, server):
                return f"Downloaded {name} from {server}: {self._content(content)}"
            case Install(kept, content):
                return f"Install {kept}: {self._content(content)}"
            case Booted(flash, servers, now):
                held = ", ".join(self._content(content) for content in (flash.ctl, flash.itl, flash.configuration))
                return f"Booted with {held}; option 150 {servers}, {now}"
            case AskTvs(server, request):
                names = f"{request.subject}, {request.issuer}, serial {request.serial}"
                return f"AskTvs {server} {request.message.name} {request.session} from {request.device}: {names}"
            case TvsAnswered(server, response):
                return f"TvsAnswered {server} {response.session}: {response.message.name}, roles {response.roles}"
        return str(item)

    def _content(self, content: bytes | None) -> str:
        return "nothing" if content is None else self._names.get(content, f"{len(content)} bytes {content[:20]!r}")
