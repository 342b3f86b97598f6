"""The commands of `mae-data`; no library imports them."""
