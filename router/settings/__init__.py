"""What the process is told by its environment; docs/environment.md is made from it.

sign_in     the settings of how people sign in, a part of the whole
address     addresses of this machine: the console's, and URLs that stay here
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from router.errors import SettingsError
from router.settings.address import ConsoleAddress, is_here
from router.settings.sign_in import SignInSettings

__all__ = ["PREFIX", "ConsoleAddress", "Settings", "is_here", "table"]

PREFIX: Final = "EMAIL_ROUTER_"

# Kubernetes and Docker make variables of their own for a service named `email-router`, or `email-router-…`.
_OF_A_SERVICE: Final = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINK: Final = re.compile("(tcp|udp|sctp)://")

_SHORTEST_ROUND, _LONGEST_ROUND = 0.001, 8784.0  # hours between two audits of a mailbox
_MOST_WORKERS: Final = 4  # by default: more of them than one process has other work for


def _folder(for_root: str, variable: str, otherwise: str) -> Path:
    """Where the system, or else the user, keeps such things (XDG Base Directory Specification)."""
    if os.geteuid() == 0:
        return Path(for_root)
    # A relative path there is invalid and to be ignored, the specification says.
    base = Path(os.environ.get(variable, ""))
    return (base if base.is_absolute() else Path.home() / otherwise) / "email-router"


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class Settings(SignInSettings):
    """The environment, read once at the start. `Settings.read()` reports mistakes in an admin's words."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    database_url: SecretStr | None = Field(
        default=None,
        description="URL of a PostgreSQL 15 or newer, such as `postgresql://user:password@host/database`; several "
        "hosts may be separated by commas. Without it the router runs a PostgreSQL of its own in the data folder.",
    )
    profiles: Path = Field(
        default_factory=lambda: _folder("/etc/email-router", "XDG_CONFIG_HOME", ".config"),
        description="Folder with the profiles, files named `*.toml`.",
        json_schema_extra={"shown": "`/etc/email-router` for root, otherwise `~/.config/email-router`"},
    )
    strict: bool = Field(
        default=False,
        description="`true` for all or nothing at the start: one mistake in the profiles, and the router ends with "
        "status 1. Otherwise the sound profiles run, and the mistakes are told in the log and in `status`.",
    )
    data: Path = Field(
        default_factory=lambda: _folder("/var/lib/email-router", "XDG_DATA_HOME", ".local/share"),
        description="Folder of the router's own PostgreSQL. Its path may be 89 bytes long.",
        json_schema_extra={"shown": "`/var/lib/email-router` for root, otherwise `~/.local/share/email-router`"},
    )
    token_keys: Path | None = Field(
        default=None,
        description="File with the keys that encrypt the tokens of OAuth2 in the database, a key a line: the first "
        "encrypts, all decrypt. Routers that share a database need the same keys.",
        json_schema_extra={"shown": "`token-keys` in the data folder, made when it is needed"},
    )
    postgres: Path | None = Field(
        default=None,
        description="Folder with the programs of PostgreSQL (`postgres`, `initdb`, `psql`) to use in place of those "
        "that come with the router.",
    )
    postgres_listen: str | None = Field(
        default=None,
        description="Address at which the router's own PostgreSQL also listens, port 5432, for a CRM that is not on "
        "this machine; `0.0.0.0` for all. Roles need a password there, and what they say is not encrypted.",
    )
    disk_warning: int = Field(
        default=90,
        ge=1,
        le=100,
        description="Percent of the data folder's disk that may be used before the router warns, in its log and in "
        "`email-router status`. The disk of a PostgreSQL elsewhere is not known.",
    )
    lease: float = Field(
        default=10,
        ge=1,
        le=3600,
        description="Seconds of silence after which another process takes over the work of this one.",
    )
    workers: int = Field(
        default_factory=lambda: min(len(os.sched_getaffinity(0)), _MOST_WORKERS),
        ge=1,
        description="Processes that read messages beside the router's own, each of about 25 MB and started when it is "
        "needed; more of them help where much mail comes at once.",
        json_schema_extra={"shown": f"the processors there are, at most {_MOST_WORKERS}"},
    )
    memory: int = Field(
        default=128,
        ge=8,
        description="MB of incoming messages that the router holds in memory at once, however many mailboxes it reads; "
        "read, they take about three times so much. A larger message is read alone. What listeners are handed counts "
        "up to half; their own bound is `max_in_flight`.",
    )
    parse_timeout: float = Field(
        default=30,
        ge=1,
        le=3600,
        description="Seconds that reading one message may take; one that takes longer is a dead letter.",
    )
    keep_decisions: int = Field(
        default=730,
        ge=30,
        le=36500,
        description="Days for which the router knows what became of each copy of a message, and why.",
    )
    keep_hashes: int = Field(
        default=3650,
        ge=30,
        le=36500,
        description="Days for which an email that the CRM erased does not come back with another copy of it. At least "
        "those of `EMAIL_ROUTER_KEEP_DECISIONS`.",
    )
    keep_bytes: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="Days for which the bytes of dead and held mail are kept, where they are; a change holds for what "
        "comes from then on.",
    )
    keep_events: int = Field(default=365, ge=7, le=36500, description="Days for which `crm.event` tells what happened.")
    keep_attempts: int = Field(
        default=730, ge=7, le=36500, description="Days for which each attempt to send an email is known."
    )
    keep_bounces: int = Field(
        default=180,
        ge=1,
        le=36500,
        description="Days for which nothing is sent to an address that bounced, after the last time it did.",
    )
    keep_taken_back: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="Days for which an email that its owner took back can be restored; then its content is deleted.",
    )
    answers_per_sender: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="Acknowledgements that one sender gets within 24 hours, of all queues together; `0`: nobody gets "
        "any.",
    )
    answers_per_domain: int = Field(
        default=500,
        ge=0,
        le=1_000_000,
        description="Acknowledgements that all senders of one domain get within 24 hours; what comes beyond is not "
        "acknowledged, and `crm.event` says so.",
    )
    audit: float | Literal["off"] = Field(
        default=24,
        description="Hours after which each mailbox is audited again: whether every message that its server holds is "
        "accounted for. `off`: only by `email-router audit`.",
    )
    audit_repair: bool = Field(
        default=False,
        description="`true`: what such an audit finds missing is brought in by itself. Otherwise it is only told, by "
        "log, `status` and metrics.",
    )
    console: str = Field(
        default="127.0.0.1:8025",
        description="Address and port at which it answers HTTP: `/healthz`, `/readyz`, `/metrics`, the API under "
        "`/api/v1`, and the pages of the console; `[::1]:8025` for IPv6, `0.0.0.0:8025` for other machines too, `off` "
        "for nobody. API and pages ask who it is, and serve other machines by TLS alone, which a proxy has to have.",
    )
    console_url: str | None = Field(
        default=None,
        description="Where people reach the console, such as `https://crm.example.com/mail`: links that the router "
        "prints begin so.",
        json_schema_extra={"shown": "`http://` and `EMAIL_ROUTER_CONSOLE`"},
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="The least that is logged: `debug`, `info`, `warning` or `error`."
    )
    log_format: Annotated[Literal["auto", "console", "json"], BeforeValidator(_lower)] = Field(
        default="auto",
        description="How it is logged: `console` for people, `json` for collectors, `auto` for whichever fits: a "
        "terminal is for people.",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        # The value is not repeated: it has a password in it, perhaps just where the mistake is.
        if value is not None and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it has to begin with postgresql://")
        return value

    @field_validator("keep_hashes")
    @classmethod
    def _outlives_decisions(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("keep_decisions", 0):
            raise ValueError("it has to be at least EMAIL_ROUTER_KEEP_DECISIONS")
        return value

    @field_validator("audit", mode="before")
    @classmethod
    def _is_hours(cls, value: Any) -> Any:
        try:
            hours = "off" if str(value).lower() == "off" else float(value)
        except ValueError:
            hours = 0.0
        if hours != "off" and not _SHORTEST_ROUND <= float(hours) <= _LONGEST_ROUND:
            raise ValueError(f"it has to be hours, from {_SHORTEST_ROUND:g} to {_LONGEST_ROUND:g}, or off")
        return hours

    @field_validator("console")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return "off" if value.lower() == "off" else str(ConsoleAddress.parse(value))

    @field_validator("console_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
            raise ValueError(f"{value!r} is no URL: write https://crm.example.com/mail")
        return value and value.rstrip("/")

    @property
    def console_link(self) -> str:
        """What links to the console begin with, without a slash at the end."""
        if self.console_url is not None:
            return self.console_url
        address = self.console_address or ConsoleAddress("127.0.0.1", 8025)
        everywhere = {"0.0.0.0": "localhost", "::": "localhost"}  # noqa: S104  # not bound, but named
        host = everywhere.get(address.host)
        return f"http://{host}:{address.port}" if host else f"http://{address}"

    @property
    def audit_every(self) -> timedelta | None:
        """After which a mailbox is audited again; None: never by itself."""
        return None if self.audit == "off" else timedelta(hours=self.audit)

    @property
    def console_address(self) -> ConsoleAddress | None:
        """Where the console is served; None: nowhere."""
        return None if self.console == "off" else ConsoleAddress.parse(self.console)

    @classmethod
    def read(cls) -> Self:
        """Read the environment; SettingsError has one line for each mistake, unknown variables with our prefix too."""
        mistakes = list(_unknown(os.environ))
        try:
            settings = cls()
        except ValidationError as error:
            raise SettingsError(
                [*(_line(mistake["loc"], mistake["msg"]) for mistake in error.errors()), *mistakes]
            ) from None
        if mistakes:
            raise SettingsError(mistakes)
        return settings


def _line(where: tuple[int | str, ...], message: str) -> str:
    words = message.removeprefix("Value error, ").removeprefix("Input ")
    return f"{PREFIX}{str(where[0]).upper()}: {words}" if where else words


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """Tell of every variable that begins as ours do and is none: a misspelled one would be ignored in silence."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for variable, value in sorted(environment.items()):
        name = variable.upper().removeprefix(PREFIX)
        if not variable.upper().startswith(PREFIX) or PREFIX + name in known or not value:
            continue
        if _OF_A_SERVICE.fullmatch(name) or _LINK.match(value):
            continue
        meant = get_close_matches(PREFIX + name, known, n=1, cutoff=0.85)
        yield f"{variable}: there is no such variable" + (
            f"; did you mean {meant[0]}?"
            if meant
            else f"; names that begin with {PREFIX} are the router's own, so a secret of a profile needs another"
        )


def table() -> str:
    """Describe every variable as a Markdown table."""
    rows = ["| variable | what it says | default |", "|---|---|---|"]
    own = {name: field for name, field in Settings.model_fields.items() if name not in SignInSettings.model_fields}
    # Those of a base class come first in the whole, and are the last that a reader looks for.
    for name, field in {**own, **SignInSettings.model_fields}.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        default = extra.get("shown") or ("none" if field.default is None else f"`{str(field.default).lower()}`")
        rows.append(f"| `{PREFIX}{name.upper()}` | {field.description} | {default} |")
    return "\n".join(rows) + "\n"
