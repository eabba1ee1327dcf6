"""The HTML of a message, in a frame in which it can do nothing.

    /mail/EMAIL/body    the frame, and in words what is not shown: a part of a page for htmx, else a page of its own
    /mail/EMAIL/html    what stands in the frame

What keeps the console safe from it, each enough by itself: only what an allowlist has is left of it (`router.html`);
its own policy loads nothing but its pictures, from here, and has no scripts and no forms; and the frame is a sandbox.

The sandbox keeps the console's origin, which is safe as nothing in it can run: `allow-scripts` is not there, neither in
the page nor in the policy. So the console can give the frame the height of its content, and its pictures are handed
to those only who are signed in, and may see the message.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from router.operations import mail_content
from router.operations.backing import Backing
from router.operations.mail_content import Body
from router.web.console.frame import Page, render, url, viewer_of

SANDBOX: Final = "allow-same-origin allow-popups allow-popups-to-escape-sandbox"
"""What a message may do: have links opened beside the console, which are then sites like any other."""

_STYLE: Final = """
:root { color-scheme: light; background: #fff; }
body { display: flow-root; margin: 0; padding: 12px; color: #1d1f23; overflow-wrap: break-word;
  font: 14px/1.5 system-ui, sans-serif; }
img { max-width: 100%; }
img:not([src]):not([alt=""]) { padding: 1px 4px; outline: 1px dashed #767b85; outline-offset: -1px; color: #555a64;
  font: 12px/1.5 system-ui, sans-serif; white-space: nowrap; overflow: hidden; }
a { color: #1a56b8; }
blockquote { margin: 0 0 0 4px; padding-left: 12px; border-left: 2px solid #c8ccd4; }
pre { white-space: pre-wrap; }
.leads-to { color: #a32020 !important; font: 600 12px/1.5 system-ui, sans-serif !important; }
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]+)?")


def routes(backing: Backing) -> Sequence[Route]:
    """Serve them."""

    async def found(request: Request) -> Body:
        email_id = request.path_params["email"]
        return await mail_content.body(
            backing,
            viewer_of(request),
            email_id,
            lambda number: url(request, f"/mail/{email_id}/cid/{number}"),
        )

    async def body(request: Request) -> Response:
        whole = request.headers.get("hx-request") != "true"
        shown = await found(request)
        return render(
            request, "mail_body.html", whole=whole, subject=shown.subject, framed=shown.framed, sandbox=SANDBOX,
            email_id=request.path_params["email"],
        )  # fmt: skip

    async def html(request: Request) -> Response:
        shown = await found(request)
        answer = render(request, "mail_frame.html", framed=shown.framed, style=_STYLE)
        answer.headers["Content-Security-Policy"] = _policy(request)
        answer.headers["X-Frame-Options"] = "SAMEORIGIN"
        return answer

    return [
        Route("/mail/{email:uuid}/body", body, methods=["GET"]),
        Route("/mail/{email:uuid}/html", html, methods=["GET"]),
    ]


def _policy(request: Request) -> str:
    """Say what a message may load: its own pictures, and our style for it; and styles in attributes."""
    host = request.headers.get("host", "")
    # Browsers know no address in brackets (IPv6) in a policy.
    ours = f"{request.url.scheme}://{host}" if _HOST.fullmatch(host) else ""
    pictures = ours + url(request, f"/mail/{request.path_params['email']}/cid/") if ours else "'self'"
    return (
        f"default-src 'none'; img-src {pictures}; style-src-elem 'sha256-{_STYLE_HASH}'; "
        f"style-src-attr 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
        f"frame-ancestors 'self'; sandbox {SANDBOX}"
    )


PAGE = Page("", "/mail", routes)
