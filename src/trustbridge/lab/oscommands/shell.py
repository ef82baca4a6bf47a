"""A node's shell: finds the command that a line means, and says what a node says when there is none."""

from __future__ import annotations

from trustbridge import atomicfile
from trustbridge.errors import Refused, TrustbridgeError
from trustbridge.lab.oscommands import bulk, certificates, files, sql, system, trustlists
from trustbridge.lab.oscommands.view import FAILED, CommandForm, NodeView
from trustbridge.services.clishell import Command

_FORMS: tuple[CommandForm, ...] = (
    *system.COMMANDS,
    *certificates.COMMANDS,
    *bulk.COMMANDS,
    *trustlists.COMMANDS,
    *files.COMMANDS,
    *sql.COMMANDS,
)
#: Longest first, so that the most specific one is found.
COMMANDS: tuple[CommandForm, ...] = tuple(sorted(_FORMS, key=lambda form: -len(form.words)))
_IN_THE_SESSION = ("set cli pagination {on|off}", "exit", "quit")


class NodeShell:
    """The `Shell` of one node."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    @property
    def greeting(self) -> str:
        """What real nodes say of themselves."""
        return (
            "   Welcome to the Platform Command Line Interface\n\n"
            "VMware Installation:\n"
            "\t2 vCPU: a lab of trustbridge\n"
            "\tDisk 1: 80GB, Partitions aligned\n"
            "\t8192 Mbytes RAM\n\n"
        )

    def name(self, line: str) -> str | None:
        """The words of the command that a line means."""
        if line.split()[0].lower() == "help":
            return "help"
        form = _form(line)
        return None if form is None else form.name

    async def run(self, line: str) -> Command:
        """Carry a command out; what it can't do, it says."""
        words = line.split()
        if words[0].lower() == "help":
            yield _help(" ".join(words[1:]))
            return
        form = _form(line)
        if form is None:
            known = any(item.words[: len(words)] == tuple(word.lower() for word in words) for item in COMMANDS)
            yield ("Incomplete command entered\n" if known else "No valid command entered\n") + FAILED
            return
        # As typed, spaces inside included: SQL has literals.
        rest = line
        for _ in form.words:
            rest = rest.strip().partition(" ")[2]
        rest = rest.strip()
        if len(rest.split()) < form.fewest:
            yield f"Incomplete command entered\nSyntax:\n{form.name} {form.parameters}\n{FAILED}"
            return
        running = form.run(self._view, rest)
        try:
            with atomicfile.in_words("the lab's folder can't be used"):
                answer: str | None = None
                while True:
                    try:
                        said = await (anext(running) if answer is None else running.asend(answer))
                    except StopAsyncIteration:
                        return
                    answer = yield said
        except TrustbridgeError as error:
            # Hints speak of this program's own commands, which a node does not know; its own stand in `Refused`.
            hint = f" {error.hint}" if error.hint and type(error) is Refused else ""
            yield f"Error: {error.message}{hint}\n{FAILED}"
        finally:
            await running.aclose()


def _form(line: str) -> CommandForm | None:
    words = tuple(word.lower() for word in line.split())
    return next((form for form in COMMANDS if words[: len(form.words)] == form.words), None)


def _help(beginning: str) -> str:
    lines = sorted([*(f"{form.name} {form.parameters}".strip() for form in COMMANDS), *_IN_THE_SESSION])
    found = [line for line in lines if line.startswith(beginning.lower())]
    if not found:
        return f"No valid command entered\n{FAILED}"
    return "".join(f"{line}\n" for line in found)
