"""Raw deliveries in, shared events out, exactly once; what cannot be mapped becomes a dead letter."""
