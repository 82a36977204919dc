"""HTTP and WebSockets on a bound socket. Knows one ASGI application and no path of it."""
