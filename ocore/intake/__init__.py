"""What comes from outside, checked or made safe: addresses, keys, host keys, texts, and secrets in texts."""
