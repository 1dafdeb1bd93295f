"""Slack's and WhatsApp's side of the wire, for tests: strict about what they get, and as rude as the real ones."""
