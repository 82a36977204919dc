"""AIGES Python wrappers as engines of the Python host; what AIGES's own modules offer is in `shims`.

Responsible for names only. See docs/reference/aiges-python.md.
"""
