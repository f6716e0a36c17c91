"""The embedded world: small clips with a known cause behind each label."""
