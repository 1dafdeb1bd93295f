"""Chat channels before a mesh: what Slack and WhatsApp deliver becomes turns of one stored conversation."""
