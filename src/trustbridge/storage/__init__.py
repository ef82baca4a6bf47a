"""What is remembered between commands, in the state folder."""
