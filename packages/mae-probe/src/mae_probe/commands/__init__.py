"""The subcommands of `mae-probe`, each declared beside the function that it runs; Paddle is imported late."""
