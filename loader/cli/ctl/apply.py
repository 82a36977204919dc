"""`loader ctl apply FILE --wait`: put, then follow every loader until it serves, or says why not."""

from __future__ import annotations

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.ctl.changing import How
from loader.cli.ctl.put import DocumentName, SourceFile, put_file
from loader.cli.operating import (
    Addresses,
    CenterUrl,
    ConfigFile,
    Message,
    Timeout,
    Wait,
    Yes,
    run,
    seconds,
    where,
)
from loader.cli.output import Output, OutputForm


def apply(
    file: SourceFile,
    name: DocumentName = "",
    message: Message = "",
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = "5m",
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Put a configuration as `put` does, and with --wait follow it until all loaders have settled.

    Waits for the loaders at --address, else for those announced in the registry, else for those that have ever
    acknowledged. Exit codes: as `put`; with --wait 0 it serves on all loaders; 8 some loader refused it or rolled
    it back; 9 not all have settled in time; 10 another revision came meanwhile.
    """
    how = How(message, yes, seconds(timeout, "--timeout") if wait else None, output)
    run(put_file(where(center, config, address, ca, certificate, key), file, name, how))
