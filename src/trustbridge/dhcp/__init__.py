"""Option 150 of DHCP servers, by provider: read, previewed as a diff, applied, verified, taken back."""
