"""What programs read and write: emails, events, webhooks, and the tokens by which they come in.

posted        emails that came by the API
events        what happened, in its order
webhooks      who is told of events by HTTP, and how far each has come
staff_tokens  tokens of the API, by their hashes
"""
