"""Dovecot's configuration file, as text."""

import grp
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from tests.servers.tls import Tls

ONE, ALL_OF, NOBODY = "email", "everyone", "nobody@nowhere.test"
"""The claims of a token that say which mailbox it opens, and of which domain all. Each token has both: Dovecot takes a
claim that is missing for a fault of its own."""


def configuration(folder: Path, ports: Mapping[str, int], password: str, tls: Tls, *, fsync: bool) -> str:
    """For a Dovecot that keeps everything under `folder` and listens on `ports` by service name."""
    return f"""
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
auth_verbose = yes
listen = 127.0.0.1
protocols = imap pop3 lmtp
{_identity()}

ssl = yes
ssl_cert = <{tls.certificate}
ssl_key = <{tls.key}
disable_plaintext_auth = no
postmaster_address = postmaster@in.test

mail_home = {folder}/mail/%u
mail_location = maildir:~/Maildir
# What a power failure would lose is nothing to a test.
mail_fsync = {"optimized" if fsync else "never"}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Drafts {{
    special_use = \\Drafts
    auto = create
  }}
  mailbox Junk {{
    special_use = \\Junk
    auto = create
  }}
  mailbox Sent {{
    special_use = \\Sent
    auto = create
  }}
  mailbox Trash {{
    special_use = \\Trash
    auto = create
  }}
}}

auth_mechanisms = plain login xoauth2 oauthbearer
auth_master_user_separator = *
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {folder}/masters
  master = yes
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2-one.conf
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {folder}/oauth2-domain.conf
}}
passdb {{
  driver = static
  mechanisms = plain login
  args = password={password}
}}
userdb {{
  driver = passwd-file
  # A digit made from the mailbox's name picks the line, and with it the Unix user.
  args = username_format=%10Nu {folder}/users
}}

mail_max_userip_connections = 10000
default_process_limit = 2000
default_client_limit = 20000
default_vsz_limit = 0
service anvil {{
  {_no_chroot()}
  # Without it every failed login makes the next one slower.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  {_no_chroot()}
}}
service auth {{
  unix_listener auth-relay {{
    mode = 0666
  }}
}}
service imap-login {{
  {_no_chroot()}
  service_count = 0
  inet_listener imap {{
    port = {ports["imap"]}
  }}
  inet_listener imaps {{
    port = {ports["imaps"]}
    ssl = yes
  }}
}}
service pop3-login {{
  {_no_chroot()}
  service_count = 0
  inet_listener pop3 {{
    port = {ports["pop3"]}
  }}
  inet_listener pop3s {{
    port = {ports["pop3s"]}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {ports["lmtp"]}
  }}
}}
"""


def oauth2(folder: Path) -> Mapping[str, str]:
    """Return the files of the two ways to take an access token: for one mailbox, and for all of a domain.

    Dovecot compares the mailbox with a claim, both in the form of `username_format`; of `%d` only the domain is left.
    """
    common = f"introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={folder}/keys/\n"
    return {
        "oauth2-one.conf": f"{common}username_attribute = {ONE}\n",
        "oauth2-domain.conf": f"{common}username_attribute = {ALL_OF}\nusername_format = %d\n",
    }


def _identity() -> str:
    """Return Dovecot's service users: the package's if we are root, else ourselves."""
    if os.geteuid() == 0:
        return "first_valid_uid = 1000"
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return (
        f"default_internal_user = {user}\ndefault_login_user = {user}\ndefault_internal_group = {group}\n"
        "first_valid_uid = 1"
    )


def _no_chroot() -> str:
    return "" if os.geteuid() == 0 else "chroot ="


def users() -> str:
    """Return the passwd-file of Unix users that own mail: ten if we are root, else ourselves ten times.

    Linux lets one user watch 128 folders; for an IDLE beyond that, Dovecot falls back to polling.
    """
    if os.geteuid() == 0:
        return "".join(f"{digit}::{30_000 + digit}:30000::\n" for digit in range(10))
    return "".join(f"{digit}::{os.geteuid()}:{os.getegid()}::\n" for digit in range(10))
