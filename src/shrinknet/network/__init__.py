"""The network that is being cut: switches, checkpoints, optimizers, and copies made layer by layer."""
