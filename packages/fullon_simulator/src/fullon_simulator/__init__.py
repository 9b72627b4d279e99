"""A simulated market that speaks the wire formats of real exchanges."""
