"""What runs kernels: compiler, sandbox, workers, engines."""
