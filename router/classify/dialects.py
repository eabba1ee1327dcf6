"""How mail systems say, in words of their own, that mail did not arrive: the data that `notice` reads by.

Every expression is meant for one line, or says how far it may reach, so that no text makes it slow.
"""

import re
from typing import Final

from router.classify.failure_words import NOT_DELIVERED, NOT_YET, REFUSED, either

ADDRESS: Final = r"[^\s<>()\[\]\",;:@]{1,200}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?"

SYSTEMS: Final = frozenset(
    {
        "mailer-daemon",
        "mailer_daemon",
        "mailerdaemon",
        "mail-daemon",
        "mail.delivery.system",
        "mail-delivery-system",
        "mdaemon",
        "post_master",
        "poostmaster",
        "bounce",
        "bounces",
    }
)
"""Mailboxes that nobody but a mail system writes from."""

SHARED: Final = frozenset({"postmaster", "no-reply", "noreply"})
"""Mailboxes that mail systems write from, and people, too."""

SYSTEM_LIKE: Final = re.compile(
    r"(?:mail(?:er)?|smtp|post)[-_.]?(?:daemon|deamon|delivery|administrator|system|gateway|robot)|mail(?:er)?[-_.]?err"
    r"|(?:non|un)-?deliver"
)
"""How else a mail system's mailbox begins, in lower case."""

MACHINES: Final = frozenset(
    {
        "admin",
        "administrator",
        "antispam",
        "antivirus",
        "daemon",
        "do-not-reply",
        "do_not_reply",
        "donotreply",
        "exchange",
        "gateway",
        "mail",
        "mailadmin",
        "mailgate",
        "mailgateway",
        "mailgw",
        "mailmaster",
        "mailserver",
        "mta",
        "no_reply",
        "nobody",
        "notification",
        "notifications",
        "notify",
        "postoffice",
        "root",
        "scanner",
        "security",
        "smtp",
        "spamfilter",
        "sysadmin",
        "system",
        "virusscan",
    }
)
"""Mailboxes of machines: a subject of failure from one of them is a report's."""

MACHINE_NAME: Final = re.compile(
    either(r"""
    mail(?:er)?[ _-]?(?:delivery|daemon|administrator|admin|system|server|gateway|router|service) | postmaster
    system administrator | delivery (?:sub)?system | message (?:transfer|delivery) | mail ?daemon | e-?mail gateway
    systemadministrator | administrateur syst[èe]me | administrador del sistema | amministratore di sistema
    administrador do sistema | systeembeheerder | systemadministratör | administrator systemu | správce systému
    системный администратор | почтовая система | служба доставки | системний адміністратор
    почтовый сервер | serveur de messagerie | servidor de corre[io]o? | sistema de corre[io]o? | server di posta
    메일 ?시스템 | 메일 ?서버 | 系统管理员 | 系統管理員 | 邮件系统 | システム管理者 | メールシステム | 시스템 관리자
"""),
    re.IGNORECASE,
)
"""What mail systems call themselves in From."""


FAILED_SUBJECT: Final = re.compile(
    r"\W{0,4}(?:undeliver(?:able|ed)|delivery (?:status|failure|notification|report|has failed|error)"
    r"|mail (?:delivery (?:failed|failure|system)|system error|could not be delivered|failure)"
    r"|message (?:you sent|delivery has failed)|(?:permanent )?delivery failure|failure notice|failed mail|loop alert"
    r"|returned mail|returned to sender|non[- ]?delivery|notice: mail delivery|there was an error sending your mail"
    r"|sorry, your message could not|warning: (?:could not send|message .{1,40} delayed)|delayed mail"
    r"|unzustellbar|nicht zustellbar|nicht zugestellt|non remis|[ée]chec de (?:la )?remise|no se puede entregar"
    r"|onbestelbaar|mancato recapito|n[ãa]o entregue|olevererbart|ej levererat|недоставлен|ваше сообщение не доставлено"
    rf"|メール送信エラー|メッセージを配信できません|系统退信)|.{{0,60}}?(?:{NOT_DELIVERED})",
    re.IGNORECASE,
)
"""How the subject of a report begins; in languages other than English also what stands in its middle."""

FAILED: Final = re.compile(
    r"undeliver|deliver[^.\n]{0,40}(?:fail|error|problem)|(?:fail|error)[^.\n]{0,40}deliver|failed|failure"
    r"|(?:not|n[\u2019']t|unable to)\s(?:\w+\s){0,3}?(?:be )?(?:deliver|reach|send|sent)|permanent error|fatal error"
    r"|returned (?:mail|message)|delayed|rejected|unknown (?:user|recipient)|user unknown|no such user|error sending"
    r"|mailbox (?:is |exceeds |unavailable|full)|invalid (?:user|address)|duplicated message-id"
    rf"|エラー|投稿|{NOT_DELIVERED}|{REFUSED}",
    re.IGNORECASE,
)
"""That something was not delivered; a mail system that does not say so reports something else."""

DELAYED: Final = re.compile(
    r"has been delayed|not yet been delivered|warning (?:message )?only|will be retried|still being retried"
    r"|delivery attempts will continue|notification[^\n]{0,20}delay|could not send message for past|delayed mail"
    rf"|message .{{1,40}} delayed|{NOT_YET}",
    re.IGNORECASE,
)
"""That it may still arrive."""

NO_REPORT: Final = re.compile(r"\s*Postfix SMTP server: errors from", re.IGNORECASE)
"""Subjects of what is written to postmasters, not to who sent the mail."""

ORIGINAL: Final = re.compile(
    r"^(?:[ \t>*#=-]{0,80}(?:below this line is a copy|this is a copy of (?:the|your) message"
    r"|(?:below|enclosed|included) is a copy|the header of the original message|message headers follow"
    r"|(?:the )?original (?:message|mail)(?: headers?| info| is following| follows| is below)?[.: \t*=-]{0,80}$"
    r"|unsent message follows|returned message|message text follows)"
    r"|content-type:[ \t]*(?:message/rfc822|text/rfc822-headers)"
    r"|(?:received|return-path|delivered-to|dkim-signature|x-originating-ip|message-id|arc-seal)[ \t]{0,3}:[ \t]*\S)",
    re.IGNORECASE | re.MULTILINE,
)
"""Where the copy of the mail begins that the report is about."""

RECIPIENT_LINES: Final = (
    # Alone, as an item of a list, or before what the server said: <neko@example.jp>: host …, neko@example.jp [unknown]
    re.compile(
        rf"[\s>*\"'<]{{0,20}}(?P<address>{ADDRESS})[>\"']{{0,3}}[ \t]*"
        r"(?:$|[:<\[(]|\.\.\.|on [A-Z0-9]|(?:Invalid Address|Error), ERROR_CODE)"
    ),
    re.compile(
        rf"[ \t]{{0,20}}[45]\d\d[ -](?:[45]\.\d{{1,3}}\.\d{{1,3}} )?<(?P<address>{ADDRESS})>\.\.\. "
    ),  # sendmail 5
)
"""Lines that name a recipient; what follows up to the next one is about that recipient."""

RECIPIENT_WORDS: Final = tuple(
    re.compile(rf"{words}[\s:<'\"]{{0,40}}(?P<address>{ADDRESS})", re.IGNORECASE)
    for words in (
        r"delivering your mail to",
        r"could not be delivered to",
        r"unable to deliver message to",
        r"returned permanent errors",
        r"did not reach the following recipient(?:\(s\))?",
        r"wasn[\u2019']t delivered to",
        r"mailbox exceeds allowed size",
        r"mailbox is full",
        r"unknown user",
        r"duplicated message-id in",
        r"delivery to the following recipients? [^\n]{0,40}",
        r"rcpt to",
    )
)
"""Words before a recipient's address, the surest first; for where no line begins with one."""

FORWARDED: Final = re.compile(
    rf"\((?:(?:ultimately )?generated|expanded) from:?[ \t]{{0,5}}<?({ADDRESS})>?\)", re.IGNORECASE
)
"""Exim, sendmail, Postfix: the address that the mail was sent to, before it was forwarded."""
