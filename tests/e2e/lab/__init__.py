from .lab import Lab  # noqa: F401
