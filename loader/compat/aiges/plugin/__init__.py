"""A command that speaks AIGES's plug-in protocol, such as `python -m aiges.serve`, as an engine of the Python host.

Responsible for names only. See docs/reference/aiges-plugin.md. The only part of the adapters that needs grpcio.
"""
