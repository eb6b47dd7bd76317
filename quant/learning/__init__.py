"""Learning ranges, channel scales, biases and weights by gradient, against the float network's own output."""
