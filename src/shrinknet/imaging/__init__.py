"""What the applications share: reading images safely, and pictures of arrays."""
