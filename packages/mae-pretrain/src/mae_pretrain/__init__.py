"""MAE pre-training (paper section 4 and Table 8): `mae-pretrain` on the command line."""

__version__ = "0.1.0"
