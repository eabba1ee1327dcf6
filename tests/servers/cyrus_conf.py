"""Cyrus's configuration files, as text."""

from collections.abc import Mapping
from pathlib import Path

from tests.servers.tls import Tls


def imapd_conf(folder: Path, user: str, master_user: str, tls: Tls) -> str:
    """For a Cyrus that keeps everything under `folder` and runs as the Unix user `user`."""
    return f"""
configdirectory: {folder}/conf
proc_path: {folder}/conf/proc
mboxname_lockpath: {folder}/conf/lock
idlesocket: {folder}/conf/socket/idle
defaultpartition: default
partition-default: {folder}/mail
cyrus_user: {user}
admins: {master_user}
proxyservers: {master_user}

# Names and separators as with Dovecot: Box/Inner beside INBOX, users with their domain.
altnamespace: yes
unixhierarchysep: yes
virtdomains: userid

# A mailbox is there as soon as mail comes for it or its user logs in, without a limit to its size.
autocreate_post: yes
autocreate_quota: 0
autocreate_inbox_folders: Drafts|Junk|Sent|Trash
xlist-drafts: Drafts
xlist-junk: Junk
xlist-sent: Sent
xlist-trash: Trash

# Bytes above 127 in headers stay what they are.
munge8bit: no

allowplaintext: no
sasl_mech_list: PLAIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {folder}/saslauthd
failedloginpause: 0
tls_server_cert: {tls.certificate}
tls_server_key: {tls.key}
# TLS sessions that could be resumed would be written to disk.
tls_session_timeout: 0

# What a power failure would lose is nothing to a test.
skiplist_unsafe: yes
"""


def services(folder: Path, programs: Path, ports: Mapping[str, int]) -> str:
    """Return what its master starts, listening on `ports` by service name."""

    def run(program: str, arguments: str = "") -> str:
        # Without -C, some of them would read /etc/imapd.conf.
        return f'cmd="{programs}/{program} -C {folder}/imapd.conf {arguments}"'

    return f"""
START {{
  recover {run("ctl_cyrusdb", "-r")}
}}
SERVICES {{
  imap {run("imapd")} listen="127.0.0.1:{ports["imap"]}" prefork=2
  imaps {run("imapd", "-s")} listen="127.0.0.1:{ports["imaps"]}" prefork=2
  pop3 {run("pop3d")} listen="127.0.0.1:{ports["pop3"]}"
  pop3s {run("pop3d", "-s")} listen="127.0.0.1:{ports["pop3s"]}"
  lmtp {run("lmtpd", "-a")} listen="127.0.0.1:{ports["lmtp"]}" prefork=1
}}
DAEMON {{
  idled {run("idled")}
}}
"""
