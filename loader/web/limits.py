"""How long the web server waits for a client that does nothing. Seconds."""

HEAD_S = 15.0  # for a client to say what it wants
LINGER_S = 60.0  # for a slow client to take what was sent to it, before the end or before anything else is
