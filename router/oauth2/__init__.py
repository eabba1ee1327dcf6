"""Access tokens: asked for at token servers (RFC 6749), and kept for all processes of a database.

late         makes the keeper once somebody asks for a token
keeper       gives each login its token, out of memory where it lasts
renewal      has it from the database, or a new one: one process at a time asks for each identity
examine      tries to have a token, step by step, and says what is wrong
login        has a person log in, in a browser or on another device
loopback     listens for the browser that comes back from a login
requests     asks by HTTP: endpoints, secrets, request, answer
exchange     what to ask for each grant, and what the answer means; does no I/O
causes       what a refusal means, and what to do about it
assertion    JWTs by which we show who we are, and what a token says of itself
discovery    an issuer's endpoints
shelf        the rows of the database, opened
vault        seals what is in them
held         a token in memory, and for how long it is used
identity     for whom tokens are
"""
