"""What messages wait for that have their leases."""
