"""`python -m incident_lib` is `incident`."""

from incident_lib.cli import main

main()
