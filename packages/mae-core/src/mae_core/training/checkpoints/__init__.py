"""What a run saves and goes on from: written, kept, verified, captured."""
