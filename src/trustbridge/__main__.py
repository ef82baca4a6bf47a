"""`python -m trustbridge` is `trustbridge`."""

from trustbridge.cli import main

main()
