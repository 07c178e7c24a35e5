"""The fix plan's claims, tested on scratch databases of the embedded server: never on an environment."""
