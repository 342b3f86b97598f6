"""Fine-tuning of masked autoencoders (paper section 4 and Tables 9 and 11): `mae-finetune` on the command line."""

__version__ = "0.1.0"
