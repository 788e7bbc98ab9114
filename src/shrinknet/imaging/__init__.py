"""What the applications share: reading images with care, and pictures of arrays."""
