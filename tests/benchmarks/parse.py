"""How many messages a second one core parses: python -m tests.benchmarks.parse

Ours beside the stdlib's two policies and the bare fast-mail-parser (structure and bodies only, in Rust), over 300
messages like real mail: 8 KB at the median, 270 KB at the 95th percentile, plain, with HTML, HTML only, attachments,
many charsets. Each reads subject, addresses, date, ids, bodies and attachments. Processor time, best of five rounds.
"""

import email
import random
import sys
import time
from collections.abc import Callable
from email import policy
from email.message import EmailMessage, Message
from email.utils import getaddresses

import fast_mail_parser

from router.parse.message import parse

MESSAGES = 300
ROUNDS = 5
TEXTS = {
    "utf-8": "Grüße aus Köln über die schöne Rechnung und den Vertrag von gestern",
    "iso-8859-1": "voilà une réponse à propos du contrat déjà signé hier",
    "koi8-r": "уважаемые коллеги благодарим вас за запрос договор счёт",
    "shift_jis": "お世話に なって おります 本日の 会議の 資料を 添付",
}
WORDS = {charset: text.split() for charset, text in TEXTS.items()}


def corpus() -> list[bytes]:
    """Make the messages, the same each time."""
    dice = random.Random(1)
    return [_letter(dice, number) for number in range(MESSAGES)]


def _letter(dice: random.Random, number: int) -> bytes:
    charset = dice.choices(list(WORDS), weights=[12, 4, 2, 2])[0]
    words = WORDS[charset]
    size = min(int(dice.lognormvariate(7.6, 0.9)), 60_000)
    lines = [" ".join(dice.choices(words, k=9)) for _ in range(size // 60 + 1)]
    letter = EmailMessage(policy=policy.SMTP)
    letter["Received"] = "from mx.out.test (mx.out.test [192.0.2.1]) by in.test; Sat, 21 Nov 2026 01:02:03 +0000"
    letter["From"] = f'"{words[0].title()}, {words[1]}" <person{number}@out.test>'
    letter["To"] = ", ".join(f"Colleague {one} <colleague{one}@in.test>" for one in range(dice.randrange(1, 6)))
    letter["Subject"] = "Re: " + " ".join(words[:4])
    letter["Date"], letter["Message-ID"] = "Sat, 21 Nov 2026 01:02:03 +0000", f"<{number}@out.test>"
    letter["References"] = " ".join(f"<{number}.{one}@out.test>" for one in range(dice.randrange(5)))
    html = "<html><head><style>p {color: #333}</style></head><body><table><tr><td>"
    html += (
        "".join(f"<p style='margin:0'><span>{line}</span><br></p>" for line in lines)
        + "</td></tr></table></body></html>"
    )
    kind = dice.random()
    if kind < 0.15:
        letter.set_content(html, subtype="html", charset=charset)
    else:
        letter.set_content("\n".join(lines) + "\n", charset=charset)
    if 0.15 <= kind < 0.75:
        letter.add_alternative(html, subtype="html", charset=charset)
    if dice.random() < 0.15:
        content = dice.randbytes(int(dice.lognormvariate(11.8, 0.7)))
        letter.add_attachment(content, "application", "pdf", filename=f"{words[0]} {number}.pdf")
    return bytes(letter)


def modern(raw: bytes) -> object:
    message = email.message_from_bytes(raw, policy=policy.default)
    headers = [message["subject"], message["date"].datetime, message["message-id"], message["references"]]
    addresses = [address.addr_spec for name in ("from", "to") for address in message[name].addresses]
    return headers, addresses, [part.get_content() for part in message.walk() if not part.is_multipart()]


def classic(raw: bytes) -> object:
    message: Message[str, str] = email.message_from_bytes(raw, policy=policy.compat32)
    headers = [message["subject"], message["date"], message["message-id"], message["references"]]
    addresses = getaddresses([str(message["from"]), str(message["to"])])
    return headers, addresses, [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]


def bare(raw: bytes) -> object:
    message = fast_mail_parser.parse_email(raw)
    return message.subject, message.headers, message.text_plain, message.text_html, message.attachments


def seconds(read: Callable[[bytes], object], messages: list[bytes]) -> float:
    began = time.process_time()
    for raw in messages:
        read(raw)
    return time.process_time() - began


def main() -> None:
    messages = corpus()
    sizes = sorted(map(len, messages))
    sys.stdout.write(
        f"{MESSAGES} messages, {sum(sizes) / 1e6:.1f} MB, median {sizes[MESSAGES // 2] / 1e3:.0f} KB, "
        f"95th percentile {sizes[MESSAGES * 95 // 100] / 1e3:.0f} KB\n"
    )
    readers: dict[str, Callable[[bytes], object]] = {
        "ours": parse,
        "stdlib, policy.default": modern,
        "stdlib, compat32": classic,
        "fast-mail-parser, bare": bare,
    }
    best = dict.fromkeys(readers, float("inf"))
    for _ in range(ROUNDS):
        for name, read in readers.items():
            best[name] = min(best[name], seconds(read, messages))
    for name, spent in best.items():
        sys.stdout.write(f"{name:24} {MESSAGES / spent:8.0f} messages/s  {spent / MESSAGES * 1000:6.2f} ms each\n")


if __name__ == "__main__":
    main()
