"""A template judged before it is deployed: what AWS refuses of it, and what it accepts to somebody's regret."""
