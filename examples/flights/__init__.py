"""Every flight that left New York in 2013, followed from its schedule to its arrival."""
