"""The tokens of OAuth2, which all processes share.

tokens       access tokens of OAuth2, and who asks for new ones
kept_tokens  what is kept of them, as a person looks at it
"""
