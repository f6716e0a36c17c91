"""The error a user can mend: one line, naming what is wrong, where, and what to do."""


class InputError(ValueError):
    """Bad input from outside (a path, file, field or sample). `main` prints it and exits with code 2."""
