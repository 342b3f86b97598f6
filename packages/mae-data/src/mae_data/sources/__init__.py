"""Where images come from: one protocol, and the kinds of data that follow it."""
