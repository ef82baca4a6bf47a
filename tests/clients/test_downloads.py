"""A phone's side of downloads, without a network: good answers in every cut, and anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trustbridge.clients.downloads import HttpAnswer, Outcome, TftpDownload
from trustbridge.wire.tftp import Ack, Data, Error, OptionAck, Packet, ReadRequest, decode, encode

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345"


def fed(data: bytes, *, closed: bool = False, step: int = 10**6, max_bytes: int = 100) -> HttpAnswer:
    """An answer that has seen these bytes in steps of so many, and perhaps the end."""
    answer = HttpAnswer(max_bytes)
    for start in range(0, len(data), step):
        answer.feed(data[start : start + step])
    if closed:
        answer.feed(b"")
    return answer


@pytest.mark.parametrize("step", [1, 3, 10**6])
@pytest.mark.parametrize(
    ("data", "closed"),
    [
        (OK, False),
        (b"HTTP/1.0 200 OK\r\n\r\n12345", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n3\r\n345\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n12345", False),
    ],
    ids=["length", "until closed", "chunked", "after 100", "kept alive"],
)
def test_a_file_is_read_from_every_form_of_answer_in_every_cut(data: bytes, closed: bool, step: int) -> None:
    answer = fed(data, closed=closed, step=step)
    assert answer.outcome is Outcome.COMPLETE
    assert answer.content == b"12345"
    # No shorter beginning would have done.
    assert fed(data[:-1], step=step).outcome is Outcome.RUNNING


def test_404_means_not_found_before_its_body_has_come() -> None:
    answer = fed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9999999\r\n\r\n")
    assert answer.outcome is Outcome.NOT_FOUND


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "closed before it had answered"),
        (b"HTTP/1.1 200 OK\r\nConte", "closed before it had answered"),
        (OK[:-1], "broke off after 4 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12\r\n", "broke off after 2 bytes"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "answered 301"),
        (b"HTTP/1.1 204 Nothing\r\n\r\n", "answered 204"),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "changes the protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", "announces 101 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n\r\n", "no HTTP"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + bytes(101), "more than the 100 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + bytes(101), "more than the 100 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10000, "bytes of headers"),
    ],
)
def test_any_other_answer_fails_with_a_word_about_it(data: bytes, why: str) -> None:
    answer = fed(data, closed=True, step=1000)
    assert answer.outcome is Outcome.FAILED
    assert why in answer.failure


# Bytes near enough to answers that some are.
pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"HTTP/1.1 ", b"HTTP/1.0 ", b"200 ", b"404 ", b"100 ", b"OK", b"\r\n", b"\r\n\r\n", b"0\r\n"),
                *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: x\r\n", b"5\r\n", OK),
            ]
        ),
        st.binary(max_size=8),
    ),
    max_size=12,
)


@given(pieces, st.integers(1, 50))
def test_whatever_a_server_says_over_http_ends_and_stays_in_bounds(said: list[bytes], step: int) -> None:
    answer = fed(b"".join(said), closed=True, step=step, max_bytes=8)
    assert answer.outcome is not Outcome.RUNNING
    assert len(answer.content) <= 8
    assert bool(answer.failure) == (answer.outcome is Outcome.FAILED)
    before = answer.outcome
    answer.feed(OK)
    assert answer.outcome is before


def receive(download: TftpDownload, packet: Packet) -> Packet | None:
    """What the download says to a packet."""
    answer = download.receive(encode(packet))
    return None if answer is None else decode(answer)


def test_a_download_with_options_is_this_exchange() -> None:
    download = TftpDownload("a", blksize=16, max_bytes=100)
    assert decode(download.packet) == ReadRequest("a", "octet", (("blksize", "16"), ("tsize", "0")))
    oack = OptionAck((("BLKSIZE", "8"), ("tsize", "11")))
    assert receive(download, oack) == Ack(0)
    assert receive(download, oack) == Ack(0)
    assert receive(download, Data(1, b"12345678")) == Ack(1)
    assert receive(download, Data(1, b"12345678")) == Ack(1)  # our ACK was lost
    assert receive(download, Data(3, b"later")) is None
    assert receive(download, oack) is None
    assert download.outcome is Outcome.RUNNING
    assert receive(download, Data(2, b"901")) == Ack(2)
    assert (download.outcome, bytes(download.content)) == (Outcome.COMPLETE, b"12345678901")
    assert receive(download, Data(3, b"more")) is None


def test_a_server_that_knows_no_options_is_taken_at_its_512_bytes() -> None:
    download = TftpDownload("a", blksize=1024, max_bytes=1000)
    assert receive(download, Data(1, bytes(512))) == Ack(1)
    assert receive(download, Data(2, b"")) == Ack(2)
    assert (download.outcome, len(download.content)) == (Outcome.COMPLETE, 512)


def test_without_options_none_are_sent_or_accepted() -> None:
    download = TftpDownload("a", blksize=None, max_bytes=1000)
    assert decode(download.packet) == ReadRequest("a", "octet")
    assert isinstance(answer := receive(download, OptionAck((("blksize", "8"),))), Error)
    assert answer.code == 8


def test_error_1_means_not_found() -> None:
    download = TftpDownload("a", blksize=512, max_bytes=1000)
    assert receive(download, Error(1, "nope")) is None
    assert download.outcome is Outcome.NOT_FOUND


@pytest.mark.parametrize(
    ("packet", "code", "why"),
    [
        (OptionAck((("blksize", "1025"),)), 8, "blocks of '1025' bytes"),
        (OptionAck((("blksize", "7"),)), 8, "blocks of '7' bytes"),
        (OptionAck((("blksize", ""),)), 8, "blocks of '' bytes"),
        (OptionAck((("windowsize", "4"),)), 8, "an option nobody asked for: 'windowsize'"),
        (OptionAck((("tsize", "101"),)), 3, "announces 101 bytes"),
        (Data(1, bytes(513)), 4, "a block of 513 bytes"),
        (Data(1, bytes(101)), 3, "more than the 100 bytes"),
        (Error(2, "Access\x1b[2J"), None, "error 2: 'Access\\x1b[2J'"),
        (Error(999, "x" * 5000), None, "error 999: 'xxx"),
    ],
)
def test_an_answer_that_breaks_the_rules_ends_the_download(packet: Packet, code: int | None, why: str) -> None:
    download = TftpDownload("a", blksize=1024, max_bytes=100)
    answer = receive(download, packet)
    assert (answer.code if isinstance(answer, Error) else answer) == code
    assert download.outcome is Outcome.FAILED
    assert why in download.failure
    assert len(download.failure) < 200


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"\0\5\0\1no NUL", Outcome.NOT_FOUND),
        (b"\0\5\0\1", Outcome.NOT_FOUND),
        (b"\0\5\0\2no\0\0\0", Outcome.FAILED),
        (b"\0\5", Outcome.FAILED),
        (b"", Outcome.RUNNING),
        (b"\0", Outcome.RUNNING),
        (b"\0\4\0\0", Outcome.RUNNING),
        (b"\0\1x\0octet\0", Outcome.RUNNING),
        (b"\0\3\0", Outcome.RUNNING),
    ],
)
def test_sloppy_errors_count_and_other_garbage_does_not(data: bytes, outcome: Outcome) -> None:
    download = TftpDownload("a", blksize=1024, max_bytes=100)
    assert download.receive(data) is None
    assert download.outcome is outcome


def test_block_numbers_begin_again_after_65535() -> None:
    download = TftpDownload("a", blksize=8, max_bytes=10**6)
    receive(download, OptionAck((("blksize", "8"),)))
    for block in range(1, 65540):
        assert receive(download, Data(block & 0xFFFF, b"12345678")) == Ack(block & 0xFFFF)
    assert receive(download, Data(65540 & 0xFFFF, b"end")) == Ack(65540 & 0xFFFF)
    assert len(download.content) == 8 * 65539 + 3
    assert download.outcome is Outcome.COMPLETE


packets = st.one_of(
    st.builds(Data, st.integers(0, 4), st.binary(max_size=20)),
    st.builds(Data, st.integers(0, 4), st.just(b"12345678")),
    st.builds(Error, st.integers(0, 9), st.text("ab", max_size=3)),
    st.builds(
        OptionAck,
        st.lists(
            st.tuples(st.sampled_from(["blksize", "tsize", "x"]), st.sampled_from(["8", "16", "0", "99", "no"])),
            max_size=2,
        ).map(tuple),
    ),
).map(encode)


@given(st.lists(st.one_of(packets, st.binary(max_size=12)), max_size=20))
def test_whatever_a_server_says_over_tftp_stays_in_bounds(said: list[bytes]) -> None:
    download = TftpDownload("a", blksize=16, max_bytes=24)
    for data in said:
        answer = download.receive(data)
        assert answer is None or isinstance(decode(answer), Ack | Error)
    assert len(download.content) <= 24
    assert bool(download.failure) == (download.outcome is Outcome.FAILED)
