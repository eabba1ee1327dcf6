"""A real authorization server on loopback (OAuth2), whose access tokens open the mailboxes of the tests' Dovecot.

The protocol is oauthlib's, the JWTs are joserfc's; what we add is who there is, and how it misbehaves on command.

| grant                      | who asks                                     | what the token opens                 |
|----------------------------|----------------------------------------------|--------------------------------------|
| client_credentials         | `application`, by its secret or certificate  | each mailbox of `DOMAIN`             |
| authorization_code, device | `application`, or `PUBLIC` without a secret  | the mailbox of the user who logs in  |
| refresh_token              | whoever had one of those two                 | the same                             |
| jwt-bearer                 | `service_account`, in a user's name          | the mailbox of that user             |

Whoever asks for the scope `openid` is told who logged in, too (OpenID Connect): `AuthorizationServer.identity`.
A user `*@DOMAIN` may open each mailbox of the domain. By hand: `python -m tests.servers.authorization`.
"""

from tests.servers.authorization.clients import DOMAIN, PUBLIC, SCOPE, Application, ServiceAccount
from tests.servers.authorization.grants import Asked
from tests.servers.authorization.identity import Claims, Identity
from tests.servers.authorization.server import AuthorizationServer

__all__ = [
    "DOMAIN",
    "PUBLIC",
    "SCOPE",
    "Application",
    "Asked",
    "AuthorizationServer",
    "Claims",
    "Identity",
    "ServiceAccount",
]
