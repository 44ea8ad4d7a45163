"""Tables that jobs write, next to those that are landed: `DerivedTable` is the way in."""
