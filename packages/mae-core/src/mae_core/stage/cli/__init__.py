"""The command lines of the stages: what they have in common."""
