"""What the stages share, and the only folder of this package that names config keys.

Reading order: `recipe` (defaults and packaged files to one config), `checks`, `flags`, `arguments` (from config to
plain arguments), `run` (a run around the loop), `classifier`, `export`.
"""
