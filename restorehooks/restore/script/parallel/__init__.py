"""A plain dump over several connections: what need not be done in order is done at once."""
