"""What a command line said, however it arrives; and that nothing it says gets past the dialogue."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.cucm.dialogue import (
    Dialogue,
    Event,
    MorePages,
    NeedMore,
    Prompt,
    Question,
    Refusal,
    SecretAnswer,
    answer_for,
    bulk_sftp_answers,
    clean,
)
from trustbridge.cucm.model import Release
from trustbridge.cucm.releases import for_release
from trustbridge.pki.units import BulkType, Unit

SAMPLES = Path(__file__).parent.parent / "vectors" / "oscli"
TEXTS = for_release(None)


def hear(said: str, command: str = "", expected: tuple[str, ...] = ()) -> Event:
    dialogue = Dialogue(TEXTS)
    if command:
        dialogue.command(command, expected)
    dialogue.receive(said)
    return dialogue.look()


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.txt").read_bytes().decode()


def test_the_first_prompt_after_the_banner() -> None:
    event = hear(sample("log-in"))
    assert isinstance(event, Prompt)
    assert event.quiet == 0
    assert "Welcome to the Platform Command Line Interface" in event.output


@pytest.mark.parametrize(
    "said",
    [
        "show it\r\none\r\ntwo\r\nadmin:",
        "admin:show it\r\none\r\ntwo\r\nadmin: ",
        "\r\nadmin:\r\nadmin:show it\r\none\r\ntwo\r\n\r\x1b[Kadmin:",
        "\r\x1b[Kadmin:show it\r\none\r\ntwo\r\nadmin:",
        "show \rit\r\none\r\ntwo\r\nadmin:",
        "shoe\bw it\r\none\r\ntwo\r\nadmin:",
        "one\r\ntwo\r\nadmin:",
        "show it\r\r\none\r\r\ntwo\r\r\nadmin(3):",
        "show it\none\ntwo\nadmin:\nadmin:",
        "show it\none\ntwo\nadmin:admin: admin:",
    ],
)
def test_echo_redrawn_prompts_and_line_ends_are_left_out(said: str) -> None:
    event = hear(said, "show it")
    assert event == Prompt("one\ntwo\n")


def test_a_command_without_output_is_done_at_its_prompt() -> None:
    assert hear("set it\r\nadmin:", "set it") == Prompt("")


def test_a_prompt_before_the_echo_may_be_an_older_one() -> None:
    dialogue = Dialogue(TEXTS)
    dialogue.command("show it")
    dialogue.receive("\r\nadmin:")
    event = dialogue.look()
    assert isinstance(event, Prompt)
    assert event.quiet > 0
    dialogue.receive("show it\r\nthis\r\n")
    assert dialogue.look() == NeedMore()
    dialogue.receive("admin:")
    assert dialogue.look() == Prompt("this\n")


@pytest.mark.parametrize(
    "said",
    ["", "show", "show it", "show it\r\n", "show it\r\none\r\nadmin", "show it\r\nmy admin: me", "x\r\nadmin: no\r\n"],
)
def test_not_yet_is_a_value(said: str) -> None:
    assert hear(said, "show it") == NeedMore()


@pytest.mark.parametrize(
    ("last", "name"),
    [
        ("Do you want to continue? (y/n):", "confirm"),
        ("Continue (y/n)?", "confirm"),
        ("Proceed with regeneration (yes|no)?", "confirm"),
        ("Are you sure [Yes/No]: ", "confirm"),
        ("Please answer 'y' for <yes> or 'n' for <no>:", "answer"),
        ("Password:", "password"),
        ("Enter SFTP password (will not be shown) : ", "password"),
        ("New Password: ", "password"),
        ("Paste the Certificate and Hit Enter\r\n", "paste"),
    ],
)
def test_questions_are_known_by_their_last_line(last: str, name: str) -> None:
    event = hear(f"utils do\r\nThis will do it.\r\n{last}", "utils do")
    assert isinstance(event, Question)
    assert event.form is not None
    assert event.form.name == name
    assert event.secret == (name == "password")
    assert 0 < event.quiet < 1


def test_an_expected_question_is_believed_sooner_than_an_odd_one() -> None:
    odd = hear("utils do\r\nShoe size:", "utils do")
    expected = hear("utils do\r\nShoe size:", "utils do", ("shoe",))
    assert isinstance(odd, Question)
    assert isinstance(expected, Question)
    assert odd.form is expected.form is None
    assert odd.quiet > expected.quiet
    assert hear("utils do\r\nShoe size", "utils do") == NeedMore()
    assert hear("utils do\r\nShoe size:\r\n", "utils do", ("shoe",)) == NeedMore()


def test_an_answered_question_is_not_asked_again_and_its_echo_is_left_out() -> None:
    dialogue = Dialogue(TEXTS)
    dialogue.command("utils do", ["continue"])
    dialogue.receive("utils do\r\nThis will do it.\r\nDo you want to continue? (y/n):")
    assert isinstance(dialogue.look(), Question)
    dialogue.answered("y")
    assert dialogue.look() == NeedMore()
    dialogue.receive("y\r\n\r\nyes, it is done\r\nadmin:")
    assert dialogue.look() == Prompt("This will do it.\nDo you want to continue? (y/n):\n\nyes, it is done\n")


def test_output_that_begins_like_the_answer_is_no_echo() -> None:
    dialogue = Dialogue(TEXTS)
    dialogue.command("utils do")
    dialogue.receive("utils do\r\nContinue (y/n)?")
    dialogue.answered("y")
    dialogue.receive("\r\nyellow\r\nadmin:")
    assert dialogue.look() == Prompt("Continue (y/n)?\n\nyellow\n", dialogue.look().quiet)  # type: ignore[union-attr]


def test_a_pasted_answer_is_left_out_whole() -> None:
    dialogue = Dialogue(TEXTS)
    dialogue.command("set cert import trust tomcat")
    dialogue.receive("set cert import trust tomcat\r\nPaste the Certificate and Hit Enter\r\n")
    pem = "-----BEGIN CERTIFICATE-----\nMIIC\nAAAA\n-----END CERTIFICATE-----"
    dialogue.answered(pem)
    dialogue.receive(pem.replace("\n", "\r\n") + "\r\n\r\nSuccessfully imported certificate for tomcat.\r\nadmin:")
    assert dialogue.look() == Prompt(
        "Paste the Certificate and Hit Enter\n\nSuccessfully imported certificate for tomcat.\n"
    )


def test_pages_are_turned_and_leave_nothing_behind() -> None:
    said = sample("paginated")
    pager = "to quit\x1b[0m\x1b[K"
    first, rest = said[: said.index(pager) + len(pager)], said[said.index(pager) + len(pager) :]
    dialogue = Dialogue(TEXTS)
    dialogue.command("show tech dbstateinfo")
    dialogue.receive(first)
    assert dialogue.look() == MorePages(" ")
    dialogue.turned_page()
    assert dialogue.look() == NeedMore()
    dialogue.receive(rest)
    event = dialogue.look()
    assert isinstance(event, Prompt)
    assert [line for line in event.output.split("\n") if line] == [
        "------------------------ Show tech dbstateinfo -------------------",
        "Database State Info",
        "Output is in /cm/trace/dbl/showtechdbstateinfo211506.txt",
    ]


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("a\r\noptions: q=quit, n=next, p=prev, b=begin, e=end (lines 61 - 80 of 207554) : ", "n"),
        ("end of the file reached\r\noptions: q=quit, n=next, p=prev, b=begin, e=end (lines 1 - 7 of 7) : ", "q"),
    ],
)
def test_the_other_pager(said: str, key: str) -> None:
    assert hear(said, "file view it") == MorePages(key)


def test_refusals_carry_the_nodes_words() -> None:
    event = hear(sample("refused-command"), "show haproxy client-auth 9456")
    assert isinstance(event, Refusal)
    assert not event.unknown
    assert event.words == "Enter valid values for the port. Suggested values are 6971, 6972 and 9443"
    event = hear(sample("unknown-command"), "show nonsense")
    assert isinstance(event, Refusal)
    assert event.unknown
    assert event.words == "No valid command entered"
    assert event.output == "No valid command entered\nExecuted command unsuccessfully\n"


@pytest.mark.parametrize("said", ["% Invalid input", "Executed command unsuccessfully", "bash: foo: command not found"])
def test_other_refusals(said: str) -> None:
    assert isinstance(hear(f"foo\r\n{said}\r\nadmin:", "foo"), Refusal)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.txt")), ids=lambda path: path.stem)
def test_every_sample_arrives_alike_whole_and_in_pieces(path: Path) -> None:
    said = path.read_bytes().decode()
    command = "" if path.stem == "log-in" else said.partition("\r\n")[0].removeprefix("admin:")
    whole, bytewise, lines = (Dialogue(TEXTS) for _ in range(3))
    for dialogue in (whole, bytewise, lines):
        dialogue.command(command)
    whole.receive(said)
    for character in said:
        bytewise.receive(character)
        bytewise.look()
    for line in said.splitlines(keepends=True):
        lines.receive(line)
        lines.look()
    assert isinstance(whole.look(), Prompt | Refusal)
    assert whole.look() == bytewise.look() == lines.look()


def test_long_output_is_kept_whole() -> None:
    body = "".join(f"line {number} of many\r\n" for number in range(20_000))
    dialogue = Dialogue(TEXTS)
    dialogue.command("show much")
    for start in range(0, len(body), 1000):
        dialogue.receive(("show much\r\n" if not start else "") + body[start : start + 1000])
        assert dialogue.look() == NeedMore()
    dialogue.receive("admin:")
    assert dialogue.look() == Prompt(body.replace("\r\n", "\n"))


ANYTHING = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            [
                *("admin:", "\r\n", "\r", "\x1b[K", "\x1b[", "\b", "show it", "(y/n):", "Password:", "y", "% Invalid"),
                *("Press <enter> for 1 line, <space> for one page, or <q> to quit", "\x1b]0;", "show"),
                "options: q=quit, n=next, p=prev (lines 1 - 2 of 2) :",
            ]
        ),
    ),
    max_size=15,
)


@given(pieces=ANYTHING, answer=st.text(max_size=5))
def test_whatever_is_said_there_is_an_event_and_looking_changes_nothing(pieces: list[str], answer: str) -> None:
    dialogue = Dialogue(TEXTS)
    dialogue.command("show it", ["y"])
    for piece in pieces:
        dialogue.receive(piece)
        event = dialogue.look()
        assert dialogue.look() == event
        assert isinstance(dialogue.seen, str)
        match event:
            case MorePages():
                dialogue.turned_page()
            case Question():
                dialogue.answered(answer)
            case Prompt(output) | Refusal(output):
                assert not output or output.endswith("\n")
                assert "\x1b" not in output


@given(text=st.text())
def test_cleaned_text_stays_clean(text: str) -> None:
    once = clean(text)
    assert not set(once) & {"\r", "\b", "\0"}


# Answers


def test_the_questions_own_line_counts_before_those_above() -> None:
    question = hear("x\r\nThe port is open.\r\nDirectory:", "x", ("port", "directory"))
    assert isinstance(question, Question)
    assert answer_for(question, {"port": "22", "direct": "/"}) == ("direct", "/")
    assert answer_for(question, {"PORT": "22"}) == ("PORT", "22")
    assert answer_for(question, {"host": "a"}) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("SFTP server IP address:", "10.1.1.9"),
        ("Please enter the SFTP server host name or IP:", "10.1.1.9"),
        ("Enter server:", "10.1.1.9"),
        ("SFTP server port [22]:", "2222"),
        ("Port:", "2222"),
        ("User ID:", "bulk"),
        ("Enter user name for the SFTP server:", "bulk"),
        ("Login:", "bulk"),
        ("Password:", "hunter2 secret"),
        ("Enter the password of the SFTP user:", "hunter2 secret"),
        ("Confirm password :", "hunter2 secret"),
        ("SFTP server directory:", "/exchange"),
        ("Remote path on server:", "/exchange"),
        ("Do you want to continue (y/n)?", "y"),
        ("Are you sure you want to continue connecting (yes/no)?", "yes"),
    ],
)
def test_questions_for_the_sftp_server_in_many_wordings(line: str, expected: str) -> None:
    answers = bulk_sftp_answers(
        TEXTS, host="10.1.1.9", port=2222, username="bulk", password="hunter2 secret", directory="/exchange"
    )
    question = hear(f"set cert bulk sftp\r\n{line} ", "set cert bulk sftp", tuple(answers))
    assert isinstance(question, Question)
    found = answer_for(question, answers)
    assert found is not None
    answer = found[1]
    assert (answer.text if isinstance(answer, SecretAnswer) else answer) == expected
    assert isinstance(answer, SecretAnswer) == (expected == "hunter2 secret")
    assert "hunter2" not in repr(answers)


# Releases


def test_abilities_follow_the_release() -> None:
    def abilities(text: str) -> tuple[object, ...]:
        able = for_release(Release.parse(text)).abilities
        return able.rest, able.one_itl_recovery, BulkType.ITLRECOVERY in able.bulk_types, able.trust_list_signer

    assert abilities("8.6.2.10000-1") == (False, False, False, Unit.CALLMANAGER)
    assert abilities("11.5.1.12900-21") == (False, False, False, Unit.CALLMANAGER)
    assert abilities("12.0.1.10000-10") == (False, False, True, Unit.ITLRECOVERY)
    assert abilities("12.5.1.11900-146") == (False, True, True, Unit.ITLRECOVERY)
    assert abilities("14.0.1.10000-20") == (True, True, True, Unit.ITLRECOVERY)
    assert abilities("99.1") == abilities("15.0.1.11900-40") == abilities("14.0.1.10000-20")


def test_an_unknown_release_is_the_oldest() -> None:
    assert for_release(None) is for_release(Release.parse("7.0"))
    assert for_release(None).abilities.certificate_listing == "blocks"
    assert for_release(Release.parse("15")).abilities.certificate_listing == "lines"


@pytest.mark.parametrize(
    ("command", "read"),
    [
        ("show cert list own", True),
        ("run sql select name from processnode", True),
        ("utils service list", True),
        ("file list tftp *", True),
        ("run sql update device set name='x'", False),
        ("set cert bulk export all", False),
        ("utils service restart Cisco Tftp", False),
        ("utils service listen", False),
        ("utils ctl set-cluster mixed-mode", False),
    ],
)
def test_only_commands_that_change_nothing_are_reads(command: str, read: bool) -> None:
    assert TEXTS.is_read(command) is read
