"""The commands of `mae-data`; nothing else imports them."""
