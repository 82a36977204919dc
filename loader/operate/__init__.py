"""What operators do, without a terminal: read and change the configuration in its center, ask nodes, drive canaries.

Knows centers, registries and AdminService; refuses to know command lines and how anything is shown.
"""
