"""ISC's dhcpd.conf, as far as option 150 goes. Pure.

    option tftp-servers code 150 = array of ip-address;      # its name is anybody's choice
    subnet 10.1.0.0 netmask 255.255.0.0 {
      option tftp-servers 10.2.0.1, 10.2.0.2;
      pool { range 10.1.0.10 10.1.0.99; option tftp-servers 10.2.0.3; }
    }

The statement of the innermost block counts. Since 4.4 the server knows the option as `tftp-server-address`; where a
file neither uses that nor defines another name, a definition is added.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from trustbridge.dhcp.filetext import Place, Replacement, Span, newline_of
from trustbridge.dhcp.scope import OPTION_150, Scope
from trustbridge.errors import DecodeError, Refused

#: For a person, once the file is changed: dhcpd reads it only when it starts.
RELOAD: Final = "dhcpd -t -cf {file} && systemctl restart isc-dhcp-server"
GLOBAL: Final = "global"
#: Blocks in blocks; nobody needs a tenth of it.
DEEPEST: Final = 100
_BUILT_IN: Final = "tftp-server-address"
_LIST, _ONE, _BYTES = "array of ip-address", "ip-address", "string"
_TOKEN: Final = re.compile(
    r'(?P<skip>\s+|#[^\n]*)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[^\s#"{};,=]+|[{};,=])', re.DOTALL
)
_HEX: Final = re.compile(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2})+")
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*)")
#: Blocks that are scopes whether or not they say option 150.
_ALWAYS: Final = ("subnet", "shared-network")


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    end: int


@dataclass(slots=True)
class _Block:
    """A block, or the whole file. `inside` is where its statements begin."""

    header: tuple[_Token, ...]
    inside: int
    wider: _Block | None
    statements: list[tuple[_Token, ...]] = field(default_factory=list)
    blocks: list[_Block] = field(default_factory=list)


class Isc:
    """A file's text.

    Args:
        text: all of it.
        included: names that other files which it includes define for option 150, in lower case, with their types.

    Raises:
        DecodeError: braces, quotes or semicolons do not match.
    """

    def __init__(self, text: str, included: Mapping[str, str] | None = None) -> None:
        self.text = text
        self._whole = _parse(text)
        self._defined = [
            (*found, Span(one[0].start, self._semicolon(one)))
            for one in self._whole.statements
            if (found := _definition(one)) is not None
        ]
        self._included = dict(included or {})
        self._types = {_BUILT_IN: _LIST} | self._included
        for name, code, kind, _ in self._defined:
            if code == OPTION_150:
                self._types[name] = kind
            else:
                self._types.pop(name, None)
        self._blocks: dict[str, _Block] = {}
        self.places = tuple(self._places(self._whole, Scope(GLOBAL, "", ()), ""))

    def names(self) -> dict[str, str]:
        """Names that this file defines for option 150, with their types."""
        return {name: kind for name, code, kind, _ in self._defined if code == OPTION_150}

    def includes(self) -> tuple[str, ...]:
        """Other files that it includes, as it names them."""
        found = []
        for block in _all(self._whole):
            for one in block.statements:
                if _includes(one):
                    found.append(one[1].text[1:-1])
        return tuple(found)

    def definitions(self) -> tuple[Span, ...]:
        """See `FileText`."""
        used = {_name_of(one) for block in _all(self._whole) for one in block.statements if self._says_150(one)}
        return tuple(span for name, code, _, span in self._defined if code == OPTION_150 and name not in used)

    def replacements(self, place: Place, servers: Sequence[str]) -> tuple[Replacement, ...]:
        """See `FileText`."""
        what = f"option 150 of {place.scope.name}"
        block = self._blocks[place.scope.name]
        own = [one for one in block.statements if self._says_150(one)]
        if own and all(_values(one) == tuple(servers) for one in own):
            return ()
        if own:
            return tuple(
                Replacement(one[0].start, self._semicolon(one), self._said_anew(one, servers), what) for one in own
            )
        at, lead, trail = self._room(block)
        name, definition = self._name_for(at, servers)
        statement = f"option {name} {self._value(name, self._types.get(name, _LIST), servers)};"
        inserted = Replacement(at, at, f"{lead}{statement}{trail}", what)
        return (inserted,) if definition is None else (definition, inserted)

    def _said_anew(self, statement: Sequence[_Token], servers: Sequence[str]) -> str:
        name = _name_of(statement)
        head = self.text[statement[0].start : statement[1].end]
        return f"{head} {self._value(name, self._types[name], servers)};"

    def _semicolon(self, statement: Sequence[_Token]) -> int:
        """The offset behind a statement, its semicolon included."""
        return _after(self.text, statement[-1].end)

    def _value(self, name: str, kind: str, servers: Sequence[str]) -> str:
        if kind == _LIST or (kind == _ONE and len(servers) == 1):
            return ", ".join(servers)
        if kind == _BYTES:
            return b"".join(ipaddress.IPv4Address(one).packed for one in servers).hex(":")
        raise Refused(
            f"the file defines option {name} as {kind!r:.60}, which can't hold {len(servers)} addresses",
            f"Define it as {_LIST}: option {name} code {OPTION_150} = {_LIST};",
        )

    def _name_for(self, at: int, servers: Sequence[str]) -> tuple[str, Replacement | None]:
        """What a new statement at an offset can call option 150, and the definition that it needs."""
        usable = [
            name
            for name, code, kind, span in self._defined
            if code == OPTION_150
            and span.end <= at
            and (kind in (_LIST, _BYTES) or (kind == _ONE and len(servers) == 1))
        ]
        usable += [name for name, kind in self._included.items() if kind in (_LIST, _BYTES)]
        if usable:
            return usable[0], None
        if any(
            _name_of(one) == _BUILT_IN for block in _all(self._whole) for one in block.statements if self._says_150(one)
        ):
            return _BUILT_IN, None
        # A name that is used already is another option, or one that some file out of sight defines.
        taken = {_name_of(one) for block in _all(self._whole) for one in block.statements if len(one) > 1}
        names = itertools.chain(("tftp-servers",), (f"tftp-servers-{at}" for at in itertools.count(OPTION_150)))
        name = next(name for name in names if name not in taken)
        line = f"option {name} code {OPTION_150} = {_LIST};{newline_of(self.text)}"
        return name, Replacement(0, 0, line, "definition of option 150")

    def _room(self, block: _Block) -> tuple[int, str, str]:
        """Where a new statement can stand in a block: its offset, and the white space before and after it."""
        at = block.inside
        if block.wider is None:
            # Behind what defines the option; before any block would do as well.
            ends = [span.end for _, code, _, span in self._defined if code == OPTION_150]
            ends += [self._semicolon(one) for one in block.statements if _includes(one)]
            at = max(ends, default=0)
            if at == 0:
                return 0, "", newline_of(self.text)
        rest = self.text[at : self.text.find("\n", at) + 1]
        if not rest or re.fullmatch(r"\s*(#[^\n]*)?\n", rest) is None:
            return at, " ", ""
        following = self.text[at + len(rest) :]
        found = re.match(r"[ \t]*(?=[^\s}])", following)
        outer = "" if block.wider is None else "  "
        indent = found[0] if found is not None else outer
        return at + len(rest), indent, newline_of(self.text)

    def _says_150(self, statement: Sequence[_Token]) -> bool:
        return _is_option(statement) and _name_of(statement) in self._types

    def _places(self, block: _Block, inherited: Scope, prefix: str) -> Iterator[Place]:
        name, subnet, always = self._named(block, prefix)
        own = [one for one in block.statements if self._says_150(one)]
        names = [one for one in block.statements if _is_option(one) and _name_of(one) == "tftp-server-name"]
        scope = Scope(
            name=name,
            subnet=subnet or inherited.subnet,
            option150=_values(own[-1]) if own else inherited.option150,
            inherited=not own,
            option66=names[-1][2].text.strip('"') if names else inherited.option66,
        )
        if own or always:
            self._blocks[name] = block
            yield Place(scope, tuple(Span(one[0].start, self._semicolon(one)) for one in own))
        for one in block.blocks:
            yield from self._places(one, scope, "" if block.wider is None else name)

    def _named(self, block: _Block, prefix: str) -> tuple[str, str, bool]:
        """A block's name, its subnet, and whether it is a scope in any case."""
        if block.wider is None:
            return GLOBAL, "", True
        words = [one.text.strip('"') for one in block.header]
        kind = words[0].lower() if words else ""
        subnet, shown = "", " ".join(words)[:80]
        if kind == "subnet" and len(words) > 3:
            prefix, shown = "", f"subnet {words[1]}"
            try:
                subnet = str(ipaddress.IPv4Network(f"{words[1]}/{words[3]}", strict=False))
            except ValueError:
                subnet = words[1]
        elif len(words) == 1:
            alike = [one for one in block.wider.blocks if [w.text.lower() for w in one.header] == [kind]]
            shown = f"{kind} {next(number for number, one in enumerate(alike, 1) if one is block)}"
        name = f"{prefix} {shown}".strip() or "block"
        number = 2
        unique = name
        while unique in self._blocks or unique == GLOBAL:
            unique, number = f"{name} ({number})", number + 1
        return unique, subnet, kind in _ALWAYS


def _parse(text: str) -> _Block:
    whole = current = _Block((), 0, None)
    pending: list[_Token] = []
    braces = 0  # of a definition: option x code 9 = { integer 8, text };
    at = depth = 0
    while at < len(text):
        matched = _TOKEN.match(text, at)
        if matched is None:
            raise DecodeError(at, "dhcpd.conf: a quote without its end")
        token = _Token(matched[0], at, matched.end())
        at = matched.end()
        if matched["skip"] is not None:
            continue
        mark = "" if matched["string"] is not None else token.text
        if braces or (mark == "{" and _defines(pending)):
            braces += (mark == "{") - (mark == "}")
            pending.append(token)
        elif mark == ";":
            if pending:
                current.statements.append(tuple(pending))
            pending = []
        elif mark == "{":
            depth += 1
            if depth > DEEPEST:
                raise DecodeError(token.start, "dhcpd.conf: blocks in blocks without end")
            block = _Block(tuple(pending), token.end, current)
            current.blocks.append(block)
            current, pending = block, []
        elif mark == "}":
            if pending or current.wider is None:
                raise DecodeError(
                    token.start, f"dhcpd.conf: {'a semicolon' if pending else 'an opening brace'} is missing"
                )
            current = current.wider
            depth -= 1
        else:
            pending.append(token)
    if pending or current.wider is not None:
        raise DecodeError(len(text), f"dhcpd.conf: {'a semicolon' if pending else 'a closing brace'} is missing")
    return whole


def _all(block: _Block) -> Iterator[_Block]:
    waiting = [block]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += one.blocks


def _after(text: str, at: int) -> int:
    """The offset behind the semicolon that follows a statement; comments may stand before it."""
    while True:
        matched = _TOKEN.match(text, at)
        assert matched is not None  # it was parsed
        at = matched.end()
        if matched["skip"] is None:
            return at


def _defines(tokens: Sequence[_Token]) -> bool:
    return len(tokens) > 2 and tokens[0].text.lower() == "option" and tokens[2].text.lower() == "code"


def _definition(statement: Sequence[_Token]) -> tuple[str, int, str] | None:
    """(name, code, type) of a definition in the space of DHCP itself; None when it is something else."""
    if not _defines(statement) or len(statement) < 6 or statement[4].text != "=":
        return None
    code = statement[3].text
    name = _name_of(statement)
    if not (code.isascii() and code.isdigit()) or len(code) > 5 or "." in name:
        return None
    kind = " ".join(token.text.lower() for token in statement[5:] if token.text not in "{}")
    return name, int(code), kind


def _includes(statement: Sequence[_Token]) -> bool:
    return len(statement) == 2 and statement[0].text.lower() == "include" and statement[1].text.startswith('"')


def _is_option(statement: Sequence[_Token]) -> bool:
    return len(statement) > 2 and statement[0].text.lower() == "option" and not _defines(statement)


def _name_of(statement: Sequence[_Token]) -> str:
    return statement[1].text.lower().removeprefix("dhcp.")


def _values(statement: Sequence[_Token]) -> tuple[str, ...]:
    """Addresses, or names of hosts that the server will look up; none where it is an expression, or no list of them."""
    words = [token.text for token in statement[2:]]
    if len(words) == 1 and _HEX.fullmatch(words[0]):
        raw = bytes(int(digits, 16) for digits in words[0].split(":"))
        return (
            tuple(str(ipaddress.IPv4Address(raw[at : at + 4])) for at in range(0, len(raw), 4))
            if len(raw) % 4 == 0
            else ()
        )
    values, commas = words[::2], words[1::2]
    if len(words) % 2 and all(one == "," for one in commas) and all(_HOST.fullmatch(one) for one in values):
        return tuple(values)
    return ()
