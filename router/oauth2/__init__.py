"""Access tokens: asked for at token servers (RFC 6749), and kept for all processes of a database.

keeper       gives each login its token: one request at a time for each identity, in all processes
login        a person logs in once, in a browser or on another device
requests     has a token by HTTP: endpoints, request, answer
exchange     what to ask for each grant, and what the answer means; does no I/O
causes       what a refusal means, and what to do about it
assertion    JWTs by which we show who we are, and what a token says of itself
discovery    an issuer's endpoints
vault        encrypts what is kept in the database
identity     for whom tokens are
"""
