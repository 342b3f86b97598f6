"""This process and the others: environment, ranks, signals, what is printed, how a command ends."""
