"""The compiled operators as files: how they are compiled, where they lie."""
