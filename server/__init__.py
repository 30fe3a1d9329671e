"""The ways in from outside: gRPC, command line, demo page."""
