"""Events in, commands out: rules decide what is to be written where, and loops end here."""
