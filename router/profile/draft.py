"""Reads one TOML file into drafts: each profile as far as it can be understood, and all that is wrong with it."""

import functools
import os
import re
import ssl
import tomllib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

import transports
from router.errors import Mistake
from router.model import Direction, Key, Rule
from router.profile.keys import TRANSPORT, IncomingKeys, OutgoingKeys, keys, models
from router.profile.lines import KeyPath, key_lines
from router.profile.role import check_role
from router.profile.rules import check_rules
from router.profile.syntax import explain_syntax
from router.profile.words import explain, loose, suggest, unknown
from transports import (
    IncomingKind,
    ListenerKind,
    ListenerSettings,
    MailboxKind,
    MailboxSettings,
    OutgoingKind,
    RelaySettings,
    Secret,
    Settings,
    is_of_mailbox,
)
from transports.base import Action
from transports.errors import Permanent

Kind = IncomingKind | OutgoingKind
SomeSettings = TypeVar("SomeSettings", bound=Settings)

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
COMMON: Mapping[Direction, type[IncomingKeys | OutgoingKeys]] = {"incoming": IncomingKeys, "outgoing": OutgoingKeys}


@dataclass(slots=True, eq=False)
class Draft:
    """One profile's table; `kind`, `keys` and `settings` are None where they could not be understood."""

    file: str
    direction: Direction
    name: str
    table: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    mistakes: list[Mistake] = field(default_factory=list)
    kind: Kind | None = None
    keys: IncomingKeys | OutgoingKeys | None = None
    settings: MailboxSettings | ListenerSettings | RelaySettings | None = None

    @property
    def key(self) -> Key:
        """What the profile is known by."""
        return self.direction, self.name

    @property
    def line(self) -> int:
        """Where the profile begins."""
        return self.line_of(())

    @property
    def title(self) -> str:
        """The profile as TOML names it."""
        return f"[{self.direction}.{self.name}]"

    @property
    def listens(self) -> bool:
        """Whether mail is handed to it."""
        return isinstance(self.kind, ListenerKind)

    @property
    def reads(self) -> bool:
        """Whether it reads mailboxes."""
        return isinstance(self.kind, MailboxKind)

    def line_of(self, path: KeyPath) -> int:
        """Find the line of a key of the table; of what contains it, where it does not stand there."""
        whole: KeyPath = (self.direction, self.name, *path)
        while whole not in self.lines:
            whole = whole[:-1]
        return self.lines[whole]

    def wrong(self, path: KeyPath, words: str) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(self.file, self.line_of(path), f"{self.title} {words}"))


def read(file: str, content: bytes) -> tuple[list[Draft], list[Mistake]]:
    """Read one file into its drafts, and the mistakes that belong to none of them."""
    parsed = parse_toml(file, content)
    if isinstance(parsed, Mistake):
        return [], [parsed]
    document, lines = parsed
    drafts: list[Draft] = []
    mistakes: list[Mistake] = []
    for key, tables in document.items():
        direction = next((known for known in DIRECTIONS if known == key), None)
        if direction is None:
            mistakes.append(Mistake(file, lines[key,], _stranger(key, tables)))
        elif not isinstance(tables, dict):
            mistakes.append(Mistake(file, lines[key,], f"{key} must be a table: write [{key}.NAME]"))
        else:
            nameless = [name for name, table in tables.items() if not isinstance(table, dict)]
            for name in nameless[:1]:
                words = f'[{key}] "{name}" stands outside of a profile: write [{key}.NAME] above it'
                mistakes.append(Mistake(file, lines[key, name], words))
            if not nameless:
                drafts += [_draft(Draft(file, direction, name, table, lines)) for name, table in tables.items()]
    return drafts, mistakes


def parse_toml(file: str, content: bytes) -> tuple[dict[str, Any], Mapping[KeyPath, int]] | Mistake:
    """Read one file as TOML, with the line of each key; or say why it is none."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Mistake(file, content.count(b"\n", 0, error.start) + 1, "the file is not UTF-8 text")
    try:
        return tomllib.loads(text), key_lines(text)
    except tomllib.TOMLDecodeError as error:
        line, words = explain_syntax(text, str(error), _known())
        return Mistake(file, line, words)
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        return Mistake(file, 0, "the file holds a number or a nesting that is too large to be read")


@functools.cache
def _known() -> Mapping[str, FieldInfo]:
    """Every key that a profile of some kind may have, by the last part of its name."""
    found = {"transport": TRANSPORT}
    for kind in map(transports.load, transports.kinds()):
        for model in (kind.incoming and kind.incoming.settings, kind.outgoing and kind.outgoing.settings):
            found |= keys(model) if model else {}
    for common in COMMON.values():
        found |= keys(common)
    return {key.rpartition(".")[2]: field for key, field in found.items()}


def _stranger(key: str, value: Any) -> str:
    if not isinstance(value, dict):
        return f'"{key}" stands outside of a profile: write [incoming.NAME] or [outgoing.NAME] above it'
    meant = suggest(key, DIRECTIONS)
    hint = f'; did you mean "{meant}"?' if meant else ": there are [incoming.NAME] and [outgoing.NAME]"
    return f'unknown table "{key}"{hint}'


def _draft(draft: Draft) -> Draft:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", draft.name):
        draft.wrong((), "the name of a profile is made of a-z, A-Z, 0-9, - and _")
    common = COMMON[draft.direction]
    mine = keys(common)
    draft.kind = _kind(draft)
    known = {"transport": TRANSPORT, **mine, **(keys(draft.kind.settings) if draft.kind else {})}
    draft.keys = _validate(draft, common, {key: value for key, value in draft.table.items() if key in mine}, known)
    if draft.kind is not None:
        rest = {key: value for key, value in draft.table.items() if key not in mine and key != "transport"}
        draft.settings = _validate(draft, draft.kind.settings, rest, known)
        _check_secrets(draft, draft.kind.settings)
        _check_files(draft, draft.kind.settings)
    if draft.listens:
        _check_listener(draft)
    if draft.listens or draft.reads:
        for path, words in check_role(draft.table, listens=draft.listens):
            draft.wrong(path, words)
    if draft.direction == "incoming":
        for path, words in check_rules(draft.table):
            draft.wrong(path, words)
    if isinstance(draft.kind, MailboxKind):
        _check_after(draft, draft.kind)
    return draft


def _kind(draft: Draft) -> Kind | None:
    """Find the kind that the draft's `transport` names, for its direction."""
    kinds = {name: getattr(transports.load(name), draft.direction) for name in transports.kinds()}
    able = ", ".join(name for name, kind in kinds.items() if kind is not None)
    if "transport" not in draft.table:
        meant = [key for key in draft.table if suggest(key, ["transport"])]
        if meant:
            draft.wrong((meant[0],), unknown(meant[0], ["transport"]))
        else:
            draft.wrong((), f"transport is missing: there are {able}")
        return None
    name = draft.table["transport"]
    if not isinstance(name, str) or name not in kinds:
        meant = get_close_matches(str(name).lower(), kinds, n=1)
        hint = f'did you mean "{meant[0]}"? There are {able}' if meant else f"there are {able}"
        draft.wrong(("transport",), f"unknown transport; {hint}")
        return None
    kind: Kind | None = kinds[name]
    if kind is None:
        draft.wrong(("transport",), f'transport "{name}" does not serve {draft.direction} profiles; there are {able}')
    return kind


def _validate(
    draft: Draft, model: type[SomeSettings], table: Mapping[str, Any], known: Mapping[str, FieldInfo]
) -> SomeSettings | None:
    found = list(loose(table, keys(model)))
    settings: SomeSettings | None = None
    try:
        settings = model.model_validate(table)
    except ValidationError as error:
        told = list(explain(error, known))
        found = told + [(path, words) for path, words in found if path not in dict(told)]
    if not found:
        return settings
    wrong = {path[0] for path, _ in found if path}
    try:
        # Checks of several keys together need keys that are right by themselves: run them again without the wrong keys.
        model.model_validate({key: value for key, value in table.items() if key not in wrong})
    except ValidationError as error:
        for path, words in explain(error, known):
            # What is said of a key that was left out is told already.
            if not path and not _mentioned(words, wrong) and (path, words) not in found:
                found.append((path, words))
    for path, words in found:
        draft.wrong(path or _mentioned(words, table), words)
    return None


def _mentioned(words: str, table: Container[str | int]) -> KeyPath:
    """Find the key with which the words about a whole table begin, for its line."""
    name = re.match(r"\w*", words)
    return (name[0],) if name and name[0] in table else ()


def _check_secrets(draft: Draft, model: type[Settings]) -> None:
    """Check that each secret can be read; its value is not kept."""
    for key, info in keys(model).items():
        path = tuple(key.split("."))
        reference = _at(draft.table, path)
        if Secret not in models(info.annotation) or reference is None:
            continue
        try:
            secret = Secret.model_validate(reference)
        except ValidationError:  # said already, with the other settings
            continue
        if secret.env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", secret.env):
            draft.wrong((*path, "env"), f"{key}.env must be the name of an environment variable")
        elif not is_of_mailbox(str(secret.file)):
            try:
                secret.reveal()
            except Permanent as error:
                draft.wrong((*path, "env" if secret.env else "file"), f"{key}: {error}")


def _check_files(draft: Draft, model: type[Settings]) -> None:
    """Check that each file that is named can be read (certificates, keys, authorities), and that a key fits."""
    sound = True
    known = keys(model)
    for key, info in known.items():
        path = tuple(key.split("."))
        name = _at(draft.table, path)
        holder = known.get(".".join(path[:-1]))
        if not isinstance(name, str) or Path not in (info.annotation, *get_args(info.annotation)):
            continue
        if holder is not None and Secret in models(holder.annotation):  # a secret's file is told with the secret
            continue
        try:
            with open(name, "rb", opener=_opener) as file:
                file.read(1)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
            draft.wrong(path, f"{key}: the file cannot be read: {reason}")
            sound = False
    if sound:
        _check_certificate(draft, ("cert_file",), ("key_file",))
        _check_certificate(draft, ("certificate", "file"), ("certificate", "key"))


def _check_certificate(draft: Draft, cert: tuple[str, ...], key: tuple[str, ...]) -> None:
    """Check that a certificate and its key belong together, where they are two files.

    These are renewed one after the other: until both are, what runs keeps the old ones.
    """
    cert_file, key_file = _at(draft.table, cert), _at(draft.table, key)
    if not isinstance(cert_file, str) or not isinstance(key_file, str):
        return
    # A pipe would keep us waiting; Path.is_file raises where we may not look.
    if not os.path.isfile(cert_file) or not os.path.isfile(key_file):  # noqa: PTH113
        return
    try:
        # Without an answer OpenSSL would ask for the key's password at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, password=lambda: "")
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        draft.wrong(cert, f"{'.'.join(cert)}: the certificate cannot be used with its key: {reason}")


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would keep us waiting


def _at(table: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    here: Any = table
    for key in path:
        here = here.get(key) if isinstance(here, dict) else None
    return here


def _check_after(draft: Draft, kind: MailboxKind[Any]) -> None:
    """Check that this kind of mailbox can do what `after` asks for."""
    # Read from the table, since other keys may be wrong; a value that is no `after` at all is told already.
    action = str(draft.table.get("after", "keep")).partition(":")[0]
    if action in get_args(Action) and action not in kind.actions:
        *others, last = (one for one in get_args(Action) if one in kind.actions)
        able = f"{', '.join(others)} or {last}" if others else last
        draft.wrong(("after",), f'after must be {able}: transport "{kind.name}" cannot do "{action}"')


def _check_listener(draft: Draft) -> None:
    """Check a listener: it answers 250, so mail that the rule ignores is lost unless the mail server keeps it."""
    if "after" in draft.table:
        draft.wrong(("after",), "after means nothing here: a listener is handed mail and has no mailbox to tidy")
    if draft.table.get("start", "all") != "all":
        draft.wrong(("start",), "start means nothing here: a listener takes all that it is handed")
    if draft.table.get("role") == "forward":
        return  # what is forwarded lies in the forwarder's own mailbox
    # Read from the table, since other settings may be wrong; a value that is neither true nor false is told already.
    is_copy = draft.table.get("copy", False) is not False
    if isinstance(draft.keys, IncomingKeys) and draft.keys.rule != Rule.ALL and not is_copy:
        draft.wrong(
            ("copy",),
            f'copy must be true, because the rule "{draft.keys.rule}" ignores mail and what is ignored would be lost: '
            'say copy = true if the mail server keeps the original, or rule = "all"',
        )
