"""Postfix's configuration files, as text."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.servers.tls import Tls

REFUSED = "550 5.1.1 No such user here, says the test server"
DEFERRED = "450 4.2.1 This mailbox is busy, says the test server; come back later"

DENIED = "Authentication-Results: relay.test; dmarc=fail header.from=kunde.test"
VOUCHED = "Authentication-Results: relay.test; dmarc=pass header.from=in.test"


@dataclass(frozen=True)
class Plan:
    """Where this Postfix listens, and whom it asks: `routes` is the socketmap's port."""

    ports: Mapping[str, int]
    routes: int
    auth_socket: Path


def write_configuration(folder: Path, plan: Plan, tls: Tls) -> None:
    """Write `etc` for a Postfix that keeps everything under `folder`."""
    etc = folder / "etc"
    etc.mkdir()
    (etc / "main.cf").write_text(_main(folder, plan, tls))
    (etc / "master.cf").write_text(_master(plan.ports))
    actions = {"refused": REFUSED, "deferred": DEFERRED, "denied": f"PREPEND {DENIED}", "vouched": f"PREPEND {VOUCHED}"}
    (etc / "recipients").write_text("".join(f"/^{name}[^@]*@/ {action}\n" for name, action in actions.items()))
    (etc / "domains").write_text(r"/(^|\.)(test|example|example\.(com|net|org))$/ ours" + "\n")
    # Postfix pauses over configuration that has just been written, until it is two seconds old.
    for file in etc.iterdir():
        os.utime(file, (0, 0))


def _main(folder: Path, plan: Plan, tls: Tls) -> str:
    return f"""
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = relay.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no

relay_domains = regexp:{folder}/etc/domains
transport_maps = socketmap:inet:127.0.0.1:{plan.routes}:routes
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access regexp:{folder}/etc/recipients

smtpd_tls_security_level = may
smtpd_tls_chain_files = {tls.key}, {tls.certificate}
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {plan.auth_socket}
smtpd_sasl_security_options = noanonymous
smtpd_sasl_authenticated_header = yes

# Mail passes as it is: no Message-ID or Date is added.
local_header_rewrite_clients =
smtputf8_enable = yes
message_size_limit = 52428800
default_process_limit = 200
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 20000
smtpd_recipient_limit = 10000
in_flow_delay = 0
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
"""


def _master(ports: Mapping[str, int]) -> str:
    authenticated = "-o smtpd_client_restrictions=permit_sasl_authenticated,reject"
    return f"""
127.0.0.1:{ports["smtp"]} inet n - n - - smtpd
127.0.0.1:{ports["submission"]} inet n - n - - smtpd {authenticated}
127.0.0.1:{ports["smtps"]} inet n - n - - smtpd {authenticated} -o smtpd_tls_wrappermode=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
pickup unix n - n 60 1 pickup
postlog unix-dgram n - n - 1 postlogd
"""
