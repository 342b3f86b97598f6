"""What the stages share, and the only folder of this package that names config keys.

Reading order: `cli` (a command's flags), `config` (defaults, files and flags to one config, and from that to plain
arguments), `run` (a run around the loop), `classifier`, `saved_model`.
"""
