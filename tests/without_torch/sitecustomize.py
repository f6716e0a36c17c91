"""Read by every Python that tests start: it finds no torch, as none is installed for users.

The tests' referees need torch; jobs do not, and libraries that import it wherever it is found take seconds for that.
"""

from importlib.machinery import PathFinder

_find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: None if name == "torch" else _find_spec(name, path, target)
