"""The conformance kit: what autotl relies on in a backbone or a head, as named checks. Plugins use `autotl.testing`."""
