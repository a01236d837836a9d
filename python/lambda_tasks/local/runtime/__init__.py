"""One function as Lambda runs it: layers, exec wrapper, awslambdaric and AWS's runtime interface emulator."""
