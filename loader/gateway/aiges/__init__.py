"""The HTTP and WebSocket face of AIGES: header, parameter and payload as JSON."""
