"""One signed JSON call to AWS, with the standard library only."""
