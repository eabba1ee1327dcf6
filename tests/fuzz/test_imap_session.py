"""A whole session with a server that errs: it ends soon, with one of our errors or with none."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.scripted_imap import CONTENT, in_time
from transports.errors import TransportError


@dataclass(frozen=True)
class Fault:
    """What happens to one answer."""

    kind: str
    position: int
    noise: bytes

    def __call__(self, answer: bytes) -> bytes | None:
        place = self.position % (len(answer) + 1)
        match self.kind:
            case "cut":
                return answer[:place]
            case "insert":
                return answer[:place] + self.noise + answer[place:]
            case "replace":
                return answer[:place] + self.noise + answer[place + len(self.noise) :]
            case "refuse":
                return answer[: answer.rfind(b" OK")] + b" NO " + self.noise + b"\r\n"
            case "twice":
                return answer + answer
        return None  # the connection is lost


_noise = st.sampled_from(
    [b"* BYE gone\r\n", b"* 1 EXPUNGE\r\n", b")", b"(", b'"', b"{3}\r\n", b"\r\n", b"* ", b"+ \r\n", b"\0\xff",
     b"[LIMIT] x", b"* OK [UIDVALIDITY 8] x\r\n", b"{9999999999}\r\n", b"* VANISHED 1:99999999999999999999\r\n",
     b"[THROTTLED] x", b"[TRYCREATE] x"]
) | st.binary(min_size=1, max_size=6)  # fmt: skip
_fault = st.builds(
    Fault, st.sampled_from(["cut", "insert", "replace", "refuse", "twice", "lose"]), st.integers(0, 400), _noise
)


def test_a_server_without_faults_gives_everything() -> None:
    copies = in_time([])
    assert [copy.content for copy in copies] == [CONTENT] * 9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none(), max_size=45), st.lists(_fault | st.none(), min_size=1, max_size=4))
def test_a_server_that_errs_ends_the_session_with_our_errors(before: list[None], faults: list[Fault | None]) -> None:
    try:
        copies, words = in_time([*before, *faults]), ""
    except TransportError as error:
        copies, words = [], str(error)
    assert all(copy.content or copy.fault for copy in copies)
    assert "secret" not in words
