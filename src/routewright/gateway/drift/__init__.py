"""Whether requests still look like those of the day a bundle was put in place."""
