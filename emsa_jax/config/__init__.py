"""The typed edge: command-line fields to frozen dataclasses, and how fields are described."""
