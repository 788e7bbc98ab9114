"""Complete applications of the core: each has its data, its models and its task, and nothing that the core needs."""
