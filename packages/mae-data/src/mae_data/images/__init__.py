"""Images as they are stored: which formats, how many channels, how deep, and what their values mean."""
